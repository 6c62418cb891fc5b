//! The client: HTTP/1.1 over sockets, as cheap as can be, so that what is measured is the server.
//!
//! Knows requests, responses and how to throw bytes away in the kernel. Does
//! not know which server answers or why it is asked.

use std::net::SocketAddr;

pub(crate) mod crowd;
pub(crate) mod exchange;
pub(crate) mod head;
pub(crate) mod load;
pub(crate) mod plain;
pub(crate) mod push;
pub(crate) mod tls;

/// Where a server listens and how it is spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    /// The value of `Authorization`, where the server wants one.
    pub(crate) authorization: Option<String>,
}

/// What lies between HTTP and TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    /// TLS 1.3 with `TLS_AES_128_GCM_SHA256`, the one suite that the client offers.
    Tls,
}

/// A request that is ready to be sent, and what must come back.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    pub(crate) status: u16,
    pub(crate) body: ResponseBody,
}

/// Whether the response to a request carries the bytes that its `Content-Length` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseBody {
    Present,
    /// The response to HEAD.
    Absent,
}

/// What a client of a registry sends with every request for a manifest.
const ACCEPT: &str =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*";

impl Request {
    /// `GET target`, to be answered with 200.
    pub(crate) fn get(endpoint: &Endpoint, target: &str) -> Self {
        Self { bytes: text(endpoint, "GET", target, ""), status: 200, body: ResponseBody::Present }
    }

    /// `HEAD target`, to be answered with 200.
    pub(crate) fn head(endpoint: &Endpoint, target: &str) -> Self {
        Self { bytes: text(endpoint, "HEAD", target, ""), status: 200, body: ResponseBody::Absent }
    }

    /// `GET target` for some ranges (RFC 9110, section 14.2), to be answered with 206.
    pub(crate) fn ranges(endpoint: &Endpoint, target: &str, ranges: &str) -> Self {
        let header = format!("Range: bytes={ranges}\r\n");
        Self { bytes: text(endpoint, "GET", target, &header), status: 206, body: ResponseBody::Present }
    }
}

/// The head of a request. `headers` are whole lines.
pub(crate) fn text(endpoint: &Endpoint, method: &str, target: &str, headers: &str) -> Vec<u8> {
    let host = endpoint.address;
    let authorization = match &endpoint.authorization {
        Some(value) => format!("Authorization: {value}\r\n"),
        None => String::new(),
    };
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nAccept: {ACCEPT}\r\n{authorization}{headers}\r\n")
        .into_bytes()
}
