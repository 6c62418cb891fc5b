//! The head of a response, as far as a client must read it.
//!
//! Knows the status and the few headers that say where the body ends and where
//! to go next (RFC 9112, sections 4 and 6). Does not know any body.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

/// More than any server here sends before its body.
const LONGEST: usize = 16 * 1024;

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
    pub(crate) fn parse(received: &[u8]) -> Result<Option<Self>> {
        let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
            if received.len() > LONGEST {
                bail!("a response's head is longer than {LONGEST} bytes");
            }
            return Ok(None);
        };
        let text = received.get(..end).map(String::from_utf8_lossy).unwrap_or_default();
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(status).with_context(|| format!("not a response: `{text}`"))?;
        let mut head =
            Self { status, length: end + 4, body: Framing::Length(0), location: None, content_type: None };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            head.take(&name.to_ascii_lowercase(), value.trim())?;
        }
        Ok(Some(head))
    }

    fn take(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "content-length" => self.body = Framing::Length(value.parse().context("parsing Content-Length")?),
            "transfer-encoding" => self.body = Framing::Chunked,
            "location" => self.location = Some(value.to_owned()),
            "content-type" => self.content_type = Some(value.to_owned()),
            _ => {}
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

fn status(line: &str) -> Option<u16> {
    line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
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
        assert!(Head::parse(&[b'x'; LONGEST + 1]).is_err());
    }
}
