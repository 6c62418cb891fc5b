//! A response as it stood on the wire.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde_json::Value;

/// The longest head that is read: far more than any server sends.
const HEAD_LIMIT: u64 = 256 * 1024;

/// The most header lines that are read.
const HEADER_LINES: usize = 128;

/// How much of a body an error quotes.
const QUOTED: usize = 400;

/// A status, headers as they were sent, and the whole body.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// Every header line, in order.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, taken out of its framing.
    pub(crate) body: Vec<u8>,
    asked: String,
}

impl Response {
    /// Reads the response to a request from `stream`; interim responses (1xx) are passed over.
    ///
    /// # Errors
    /// It is no HTTP, or it ends before its framing says so.
    pub(crate) fn read(stream: impl Read, method: &str, target: &str) -> Result<Self> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut response = Self::read_head(&mut reader)?;
            if response.status >= 200 {
                response.asked = format!("{method} {target}");
                response.body = response.read_body(&mut reader, method)?;
                return Ok(response);
            }
        }
    }

    /// The value of the first line of this header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        line.map(|(_, value)| value.as_str())
    }

    /// The values of all lines of this header.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The same response, if it has this status.
    ///
    /// # Errors
    /// It has another; the error quotes the body.
    pub(crate) fn expect(self, status: u16) -> Result<Self> {
        self.expect_any(&[status])
    }

    /// The same response, if it has one of these statuses.
    ///
    /// # Errors
    /// It has another; the error quotes the body.
    pub(crate) fn expect_any(self, statuses: &[u16]) -> Result<Self> {
        ensure!(
            statuses.contains(&self.status),
            "{} was answered {}, not {statuses:?}: {}",
            self.asked,
            self.status,
            self.text()
        );
        Ok(self)
    }

    /// The same response, if this header has this value.
    ///
    /// # Errors
    /// It has not.
    pub(crate) fn expect_header(self, name: &str, value: &str) -> Result<Self> {
        let found = self.header(name);
        ensure!(found == Some(value), "{}: {name} is {found:?}, not {value:?}", self.asked);
        Ok(self)
    }

    /// The same response, if it is an error of the specification with this code.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn expect_code(self, status: u16, code: &str) -> Result<Self> {
        let response = self.expect(status)?;
        let found = response.json()?.pointer("/errors/0/code").and_then(Value::as_str).map(str::to_owned);
        ensure!(found.as_deref() == Some(code), "{}: code {found:?}, not {code}", response.asked);
        Ok(response)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{} was answered no JSON: {}", self.asked, self.text()))
    }

    /// The beginning of the body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.body.get(..self.body.len().min(QUOTED)).unwrap_or_default()).into_owned()
    }

    /// Where the server wants to be spoken to next: path and query, the host dropped.
    pub(crate) fn location(&self) -> Result<String> {
        let location = self
            .header("Location")
            .with_context(|| format!("{} was answered without Location", self.asked))?;
        let path = location
            .split_once("://")
            .map_or(location, |(_, rest)| rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"));
        Ok(path.to_owned())
    }

    fn read_head(reader: &mut impl BufRead) -> Result<Self> {
        let mut head = Vec::new();
        let mut limited = reader.take(HEAD_LIMIT);
        while !head.ends_with(b"\r\n\r\n") {
            let read = limited.read_until(b'\n', &mut head)?;
            ensure!(read > 0, "the connection ended after {} bytes of head", head.len());
        }
        let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES];
        let mut parsed = httparse::Response::new(&mut lines);
        parsed.parse(&head)?;
        let status = parsed.code.context("no status")?;
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = parsed.headers.iter().map(|line| (line.name.to_owned(), text(line.value))).collect();
        Ok(Self { status, headers, body: Vec::new(), asked: String::new() })
    }

    fn read_body(&self, reader: &mut impl BufRead, method: &str) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        if method == "HEAD" || matches!(self.status, 204 | 304) {
            return Ok(body);
        }
        if self.header("Transfer-Encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return read_chunks(reader);
        }
        let Some(length) = self.header("Content-Length") else {
            reader.read_to_end(&mut body)?;
            return Ok(body);
        };
        let length: u64 = length.parse().context("Content-Length")?;
        reader.take(length).read_to_end(&mut body)?;
        ensure!(body.len() as u64 == length, "the body ended after {} of {length} bytes", body.len());
        Ok(body)
    }
}

fn read_chunks(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16)
            .context("chunk size")?;
        let before = body.len() as u64;
        reader.take(size).read_to_end(&mut body)?;
        ensure!(body.len() as u64 - before == size, "the body ended within a chunk");
        let mut end = String::new();
        reader.read_line(&mut end)?;
        if !end.trim().is_empty() {
            bail!("a chunk without its end: {end:?}");
        }
        if size == 0 {
            return Ok(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(wire: &str) -> Result<Response> {
        Response::read(wire.as_bytes(), "GET", "/")
    }

    #[test]
    fn framings_are_taken_off() {
        for wire in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nhello",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        ] {
            let response = get(wire).unwrap();
            assert_eq!((response.status, response.body.as_slice()), (200, b"hello".as_slice()), "{wire:?}");
        }
    }

    #[test]
    fn a_body_cut_short_is_an_error() {
        for wire in [
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "",
        ] {
            get(wire).unwrap_err();
        }
    }

    #[test]
    fn a_location_loses_its_host() {
        for (location, path) in
            [("/v2/a?b=c", "/v2/a?b=c"), ("http://h:1/v2/a?b", "/v2/a?b"), ("https://h", "/")]
        {
            let wire = format!("HTTP/1.1 202 Accepted\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(get(&wire).unwrap().location().unwrap(), path);
        }
    }

    #[test]
    fn a_wrong_status_quotes_the_body() {
        let response = get("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nlost").unwrap();
        assert!(response.expect(200).unwrap_err().to_string().contains("lost"));
    }
}
