//! TLS as an operator sets it up: which certificate, which versions, who may come in.
//!
//! Knows rustls and the first bytes of a connection. Does not know HTTP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::SupportedCipherSuite;
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::CipherSuite;
use crate::config::Http2;
use crate::config::TlsVersion;
use crate::reload::Succession;
use crate::reload::Watched;
use crate::server::transport;
use crate::server::transport::Corked;

mod certificate;
mod clients;

pub use certificate::Certificate;
pub use certificate::CertificateError;
pub use certificate::Inspection;
pub use clients::ClientAuthorities;

/// How long a handshake may take. It is two round trips and some computing; a client on the far side of a
/// satellite has finished long before.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);

/// The first byte of every TLS connection: the record type `handshake` (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// What an operator decides about TLS beside the certificate.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The lowest version.
    pub minimum: TlsVersion,
    /// The only suites of TLS 1.2; `None` is all.
    pub suites: Option<Vec<CipherSuite>>,
    /// If any, clients must present a certificate that one of these signed.
    pub client_cas: Vec<Watched<Succession<ClientAuthorities>>>,
    /// Whether HTTP/2 is offered.
    pub http2: Http2,
}

/// TLS for a listener. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    offload: Offload,
}

/// Who encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offload {
    /// The kernel, where it can do what client and server agreed on.
    Kernel,
    /// We do.
    Never,
}

/// A connection after its handshake.
pub(super) enum Secured {
    /// Its TLS is done here; it speaks what was agreed on.
    Here(Box<TlsStream<Corked>>, Alpn),
    /// Its TLS is done by the kernel; it speaks HTTP/1.1.
    Kernel(TcpStream),
}

/// What client and server agreed to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alpn {
    Http1,
    Http2,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// The client sent an HTTP request instead. It deserves an answer.
    #[error("a plain HTTP request")]
    PlainHttp(TcpStream),
    /// The client sent something else, or did not agree.
    #[error(transparent)]
    Failed(#[from] io::Error),
    /// It took too long.
    #[error("no handshake within {} s", HANDSHAKE_LIMIT.as_secs())]
    TimedOut,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// rustls refuses the combination of versions, suites and certificates.
    #[error("cannot set up TLS")]
    Rustls(#[from] rustls::Error),
    /// The certificates that are to sign those of clients cannot be used.
    #[error("cannot use the certificates of client authorities: {0}")]
    ClientCas(String),
}

impl Tls {
    /// Presents `certificate`, whichever is in force when a connection begins.
    ///
    /// # Errors
    /// The settings do not fit each other.
    pub fn new(certificate: Watched<Certificate>, settings: &TlsSettings) -> Result<Self, TlsError> {
        let provider = Arc::new(provider(settings));
        let verifier: Arc<dyn ClientCertVerifier> = match settings.client_cas.is_empty() {
            true => WebPkiClientVerifier::no_client_auth(),
            false => Arc::new(clients::Followed::new(settings.client_cas.clone())),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(settings.minimum))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(certificate::Resolver::new(certificate)));
        config.alpn_protocols = match settings.http2 {
            Http2::Offered => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Http2::Disabled => vec![b"http/1.1".to_vec()],
        };
        // Clients that open a connection for each of a hundred layers resume their session instead of signing
        // anew.
        // Not where they have to show who they are: a session that is resumed is not verified again.
        if settings.client_cas.is_empty() {
            config.ticketer = aws_lc_rs::Ticketer::new()?;
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        let offload = if transport::is_supported() { Offload::Kernel } else { Offload::Never };
        config.enable_secret_extraction = offload == Offload::Kernel;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), offload })
    }

    /// Does the handshake.
    pub(super) async fn accept(&self, socket: TcpStream) -> Result<Secured, HandshakeError> {
        timeout(HANDSHAKE_LIMIT, self.handshake(socket)).await.unwrap_or(Err(HandshakeError::TimedOut))
    }

    async fn handshake(&self, socket: TcpStream) -> Result<Secured, HandshakeError> {
        let mut first = [0];
        socket.peek(&mut first).await?;
        match first {
            [HANDSHAKE_RECORD] => {}
            [byte] if byte.is_ascii_uppercase() => return Err(HandshakeError::PlainHttp(socket)),
            [_] => return Err(io::Error::new(io::ErrorKind::InvalidData, "neither TLS nor HTTP").into()),
        }
        let corked = match self.offload {
            Offload::Kernel => Corked::new(socket),
            Offload::Never => Corked::open(socket),
        };
        let mut stream = self.acceptor.accept(corked).await?;
        let (corked, session) = stream.get_mut();
        let alpn = match session.alpn_protocol() {
            Some(b"h2") => Alpn::Http2,
            _ => Alpn::Http1,
        };
        if self.offload == Offload::Kernel && alpn == Alpn::Http1 && transport::can_offload(session) {
            let (corked, session) = stream.into_inner();
            let socket = corked.into_inner();
            transport::offload(&socket, session)?;
            return Ok(Secured::Kernel(socket));
        }
        corked.uncork();
        Ok(Secured::Here(Box::new(stream), alpn))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("offload", &self.offload).finish_non_exhaustive()
    }
}

/// aws-lc-rs, with the suites that are wanted. It prefers the key exchange X25519MLKEM768.
fn provider(settings: &TlsSettings) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(wanted) = &settings.suites {
        provider.cipher_suites.retain(|suite| match suite {
            SupportedCipherSuite::Tls13(_) => true,
            SupportedCipherSuite::Tls12(_) => {
                let name = suite.suite().as_str().unwrap_or_default();
                wanted.iter().any(|it| it.as_str() == name)
            }
        });
    }
    provider
}

fn versions(minimum: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_TLS12: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    static FROM_TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    match minimum {
        TlsVersion::Tls12 => &FROM_TLS12,
        TlsVersion::Tls13 => &FROM_TLS13,
    }
}
