//! Bodies that are taken as they come: a blob's bytes, or lines.
//!
//! Knows how much is to come and how long silence is borne. Does not know what the bytes are for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use http::Response;
use http::StatusCode;
use http::header;
use hyper::body::Incoming;

use crate::peer::Error;
use crate::peer::client::Client;

/// How long a body may be silent before another source is tried: a cold read from a bad medium takes seconds.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(15);

/// The bytes of a blob, as they come. Counts as load of its registry while it lives.
#[derive(Debug)]
pub struct BlobStream {
    client: Client,
    body: Incoming,
    /// Bytes to pass over: the registry ignored the range.
    skip: u64,
    /// The length of the whole blob, where the registry says it.
    total: Option<u64>,
}

impl BlobStream {
    pub(super) fn new(client: Client, response: Response<Incoming>, offset: u64) -> Result<Self, Error> {
        let headers = response.headers();
        let (skip, total) = match response.status() {
            StatusCode::OK => (offset, number(headers.get(header::CONTENT_LENGTH))),
            StatusCode::PARTIAL_CONTENT => {
                let range = headers.get(header::CONTENT_RANGE).and_then(|it| it.to_str().ok());
                let (start, total) = range
                    .and_then(parse_content_range)
                    .ok_or_else(|| client.protocol("a partial answer does not say which part it is"))?;
                if start != offset {
                    return Err(
                        client.protocol(format_args!("asked for bytes from {offset}, it sent from {start}"))
                    );
                }
                (0, total)
            }
            status => return Err(client.protocol(format_args!("a blob came with status {status}"))),
        };
        client.inner.busy.fetch_add(1, Ordering::Relaxed);
        Ok(Self { client, body: response.into_body(), skip, total })
    }

    /// The length of the whole blob, where the registry says it.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The connection broke, or nothing came for too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some(mut data) = self.client.next_data(&mut self.body).await? else { return Ok(None) };
            let passed = self.skip.min(data.len() as u64);
            self.skip -= passed;
            data.advance(usize::try_from(passed).unwrap_or(data.len()));
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
    }
}

impl Drop for BlobStream {
    fn drop(&mut self) {
        self.client.inner.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

fn number(value: Option<&http::HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.parse().ok()
}

/// `bytes START-END/TOTAL` or `bytes START-END/*`
fn parse_content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

/// A body as lines, of which no more than one is held.
#[derive(Debug)]
pub(crate) struct Lines {
    client: Client,
    body: Incoming,
    held: BytesMut,
}

impl Lines {
    /// The longest line: a manifest's entry with ten tags of full length fits many times.
    pub(crate) const LIMIT: usize = 64 * 1024;

    pub(super) fn new(client: Client, response: Response<Incoming>) -> Self {
        Self { client, body: response.into_body(), held: BytesMut::new() }
    }

    /// The next line, without its end; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let line = self.held.split_to(end).freeze();
                self.held.advance(1);
                return Ok(Some(line));
            }
            if self.held.len() > Self::LIMIT {
                return Err(self.client.protocol("a line is too long"));
            }
            match self.client.next_data(&mut self.body).await? {
                Some(data) => self.held.extend_from_slice(&data),
                None if self.held.is_empty() => return Ok(None),
                None => return Err(self.client.protocol("the last line is cut short")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse_content_range;

    #[test]
    fn which_part_it_is() {
        let check = |text: &str, want| assert_eq!(parse_content_range(text), want, "{text}");
        check("bytes 5-9/10", Some((5, Some(10))));
        check("bytes 5-9/*", Some((5, None)));
        check("bytes */10", None);
        check("5-9/10", None);
    }
}
