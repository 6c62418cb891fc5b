//! The head of a response, as far as a client must read it.
//!
//! Knows the status and the few headers that say where the body ends and where
//! to go next (RFC 9112, sections 4 and 6). Does not know any body.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

/// More than any server here sends before its body.
const LONGEST: usize = 16 * 1024;
const MOST_LINES: usize = 64;

/// A response's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// How many bytes the head itself has, its empty line included.
    pub(crate) length: usize,
    pub(crate) body: Framing,
    pub(crate) location: Option<String>,
    pub(crate) content_type: Option<String>,
}

/// How a body's end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

impl Head {
    /// `None` while the head is not there to its end.
    ///
    /// Takes next to nothing: with small answers the client is what is short of time, and a head is longer with one
    /// server than with another.
    pub(crate) fn parse(received: &[u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_LINES];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(received).context("not a response")?;
        let httparse::Status::Complete(length) = parsed else {
            if received.len() > LONGEST {
                bail!("a response's head is longer than {LONGEST} bytes");
            }
            return Ok(None);
        };
        let status = response.code.context("a response without a status")?;
        let mut head = Self { status, length, body: Framing::Length(0), location: None, content_type: None };
        for header in response.headers.iter() {
            head.take(header)?;
        }
        Ok(Some(head))
    }

    fn take(&mut self, header: &httparse::Header<'_>) -> Result<()> {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let text =
            || std::str::from_utf8(header.value).with_context(|| format!("`{}` is no text", header.name));
        if is("content-length") {
            self.body = Framing::Length(text()?.parse().context("parsing Content-Length")?);
        } else if is("transfer-encoding") {
            self.body = Framing::Chunked;
        } else if is("location") {
            self.location = Some(text()?.to_owned());
        } else if is("content-type") {
            self.content_type = Some(text()?.to_owned());
        }
        Ok(())
    }

    /// The length of a body that must have announced it.
    pub(crate) fn content_length(&self) -> Result<u64> {
        match self.body {
            Framing::Length(length) => Ok(length),
            Framing::Chunked => bail!("the body is chunked; a measured body has a Content-Length"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn heads() {
        let whole = b"HTTP/1.1 202 Accepted\r\nLOCATION: /v2/x?a=b\r\nContent-Length: 12\r\n\r\nbody";
        let head = Head::parse(whole).unwrap().unwrap();
        assert_eq!((head.status, head.length), (202, whole.len() - 4));
        assert_eq!(head.location.as_deref(), Some("/v2/x?a=b"));
        assert_eq!(head.content_length().unwrap(), 12);
        for cut in 0..whole.len() - 5 {
            assert_eq!(Head::parse(whole.get(..cut).unwrap()).unwrap(), None);
        }
        let chunked = Head::parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap().unwrap();
        assert!(chunked.content_length().is_err());
        assert!(Head::parse(b"SSH-2.0-x\r\n\r\n").is_err());
        assert!(Head::parse(format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(LONGEST)).as_bytes()).is_err());
    }
}
