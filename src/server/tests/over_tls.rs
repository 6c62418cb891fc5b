//! The same over TLS, by HTTP/1.1 and HTTP/2.

use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::NamedGroup;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::verify_tls12_signature;
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config::Http2;
use crate::config::TlsVersion;
use crate::reload::Watched;
use crate::server::tests::bodies::by_windows;
use crate::server::tests::bodies::paths;

const RSA: &[u8] = include_bytes!("../tls/samples/rsa.crt");
const RSA_PKCS1: &[u8] = include_bytes!("../tls/samples/rsa-pkcs1.key");
const RSA_PKCS8: &[u8] = include_bytes!("../tls/samples/rsa-pkcs8.key");
const EC: &[u8] = include_bytes!("../tls/samples/ec.crt");
const EC_SEC1: &[u8] = include_bytes!("../tls/samples/ec-sec1.key");
const EC_PKCS8: &[u8] = include_bytes!("../tls/samples/ec-pkcs8.key");

fn settings() -> TlsSettings {
    TlsSettings { minimum: TlsVersion::Tls12, suites: None, client_cas: Vec::new(), http2: Http2::Offered }
}

pub(super) fn tls() -> Tls {
    let certificate = Certificate::parse(EC, EC_SEC1).unwrap();
    Tls::new(Watched::fixed(certificate), &settings()).unwrap()
}

/// Takes any certificate, as long as the server has its key.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A client that speaks HTTP/1.1 over TLS 1.3.
pub(super) async fn client(server: &Running) -> Client<TlsStream<TcpStream>> {
    Client::new(connect(server, &rustls::version::TLS13, "http/1.1").await)
}

async fn connect(
    server: &Running,
    version: &'static rustls::SupportedProtocolVersion,
    alpn: &str,
) -> TlsStream<TcpStream> {
    let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let socket = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
}

#[tokio::test]
async fn http1_gets_the_same_bytes() {
    let (_stored, blob) = content_blob().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = Running::start(blob.clone(), Some(tls())).await;
        let mut client = Client::new(connect(&server, version, "http/1.1").await);
        let mut sent = 0;
        for path in paths() {
            let answer = client.get(&path).await;
            assert!(answer.body == expected(&path), "{path}");
            sent += (answer.head.len() + answer.body.len()) as u64;
        }
        let counts = &server.transport;
        let by_kernel: u64 = paths().iter().map(|path| by_windows(path)).sum();
        match counts.ktls.get() {
            // This kernel has no TLS, or is not asked for it.
            0 => assert_eq!((counts.tls.get(), counts.copied.get()), (sent, 0)),
            _ => assert_eq!((counts.ktls.get(), counts.tls.get()), (by_kernel, 0)),
        }
        assert_eq!(counts.sendfile.get(), 0);
    }
}

#[tokio::test]
async fn http2_gets_the_same_bytes() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, Some(tls())).await;
    let stream = connect(&server, &rustls::version::TLS13, "h2").await;
    let (client, connection) =
        http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let fetched = paths().into_iter().map(|path| {
        let mut client = client.clone();
        async move {
            let request = Request::get(format!("https://localhost/{path}")).body(Full::default()).unwrap();
            let body = client.send_request(request).await.unwrap().into_body().collect().await.unwrap();
            assert!(body.to_bytes() == expected(&path), "{path}");
        }
    });
    // All at once, so that their frames are interleaved.
    let mut all = tokio::task::JoinSet::new();
    fetched.for_each(|fetch| drop(all.spawn(fetch)));
    all.join_all().await;
    assert!(server.transport.tls.get() > paths().iter().map(|path| expected(path).len() as u64).sum());
    driver.abort();
}

#[tokio::test]
async fn http2_sees_an_early_answer_and_goes_on() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, Some(tls())).await;
    let stream = connect(&server, &rustls::version::TLS13, "h2").await;
    let (mut client, connection) =
        http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    for _ in 0..3 {
        let body = Full::new(Bytes::from(vec![0; 6 << 20]));
        let request = Request::patch("https://localhost/refuse").body(body).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 403);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "not to be pushed to");
    }
    let request = Request::get("https://localhost/0-9").body(Full::default()).unwrap();
    let body = client.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), CONTENT[..9], "the connection goes on");
    driver.abort();
}

#[tokio::test]
async fn the_post_quantum_key_exchange_is_preferred() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, Some(tls())).await;
    let stream = connect(&server, &rustls::version::TLS13, "http/1.1").await;
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn every_form_of_key_is_taken() {
    let (_stored, blob) = content_blob().await;
    for (chain, key, serial) in
        [(RSA, RSA_PKCS1, "a1b2"), (RSA, RSA_PKCS8, "a1b2"), (EC, EC_SEC1, "c3d4"), (EC, EC_PKCS8, "c3d4")]
    {
        let certificate = Certificate::parse(chain, key).unwrap();
        assert!(certificate.serial().unwrap().ends_with(serial), "{:?}", certificate.serial());
        assert!(certificate.not_after().unwrap() > std::time::SystemTime::now());
        let tls = Tls::new(Watched::fixed(certificate), &settings()).unwrap();
        let server = Running::start(blob.clone(), Some(tls)).await;
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let mut client = Client::new(connect(&server, version, "http/1.1").await);
            assert_eq!(client.get("0-9").await.body, CONTENT[..9]);
        }
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    for (chain, key) in [(RSA, EC_SEC1), (EC, RSA_PKCS8)] {
        assert!(matches!(Certificate::parse(chain, key), Err(CertificateError::Unfit(_))));
    }
    assert!(matches!(Certificate::parse(EC_SEC1, EC_SEC1), Err(CertificateError::Chain(_))));
    assert!(matches!(Certificate::parse(EC, EC), Err(CertificateError::Key(_))));
    assert!(matches!(Certificate::parse(b"", b""), Err(CertificateError::Chain(_))));
}

/// Rotation, as Kubernetes does it: connections that are open stay, new ones get the new certificate.
#[tokio::test]
async fn a_certificate_is_replaced_without_dropping_a_connection() {
    let directory = tempfile::tempdir().unwrap();
    let [chain, key] = ["tls.crt", "tls.key"].map(|name| directory.path().join(name));
    std::fs::write(&chain, RSA).unwrap();
    std::fs::write(&key, RSA_PKCS1).unwrap();
    let metrics = crate::metrics::Metrics::new("0");
    let mut watcher = crate::reload::Watcher::new(metrics.reload.clone());
    let certificate =
        Certificate::watch(&mut watcher, chain.clone(), key.clone(), metrics.reload.clone()).unwrap();
    let (reports, force) = (watcher.reports(), watcher.force());
    let shutdown = CancellationToken::new();
    let watching = tokio::spawn(watcher.run(shutdown.clone()));

    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, Some(Tls::new(certificate, &settings()).unwrap())).await;
    let mut old = client(&server).await;
    assert_eq!(old.get("0-9").await.body, CONTENT[..9]);
    let shown = presented(&server).await;

    std::fs::write(&chain, EC).unwrap();
    force.read_all().await;
    assert_eq!(presented(&server).await, shown, "half of a pair is not taken");
    assert!(reports.all()[0].problem.as_ref().unwrap().contains("the key cannot be used"));

    std::fs::write(&key, EC_SEC1).unwrap();
    force.read_all().await;
    assert_ne!(presented(&server).await, shown);
    assert_eq!(reports.all()[0].problem, None);
    assert_eq!(old.get("5-9").await.body, CONTENT[5..9], "the old connection is still there");
    assert!(metrics.encode().contains("c3d4\"}"), "{}", metrics.encode());
    shutdown.cancel();
    watching.await.unwrap();
}

async fn presented(server: &Running) -> Vec<u8> {
    let stream = connect(server, &rustls::version::TLS13, "http/1.1").await;
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_told_so() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, Some(tls())).await;
    let mut client = server.connect().await;
    client.send("GET /v2/ HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body, b"Client sent an HTTP request to an HTTPS server.\n");
    assert_eq!(client.rest().await.unwrap(), b"");
    assert_eq!(server.transport.handshakes_failed.get(), 1);
}

#[tokio::test]
async fn a_tls_connection_ends_with_a_close_notify() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, Some(tls())).await;
    let mut client = client(&server).await;
    client.send("GET /0-1048577 HTTP/1.0\r\n\r\n").await;
    // rustls makes an error of an end without one.
    assert!(client.rest().await.unwrap().ends_with(&expected("0-1048577")));
}

#[tokio::test]
async fn an_early_answer_is_seen_over_tls_too() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, Some(tls())).await;
    let mut client = client(&server).await;
    client.send("PATCH /refuse HTTP/1.1\r\nHost: test\r\nContent-Length: 6291456\r\n\r\n").await;
    client.send(vec![0; 6 << 20]).await;
    assert_eq!(client.answer().await.status, 403);
}

#[tokio::test]
async fn settings_are_obeyed() {
    let (_stored, blob) = content_blob().await;
    let only_13 = TlsSettings { minimum: TlsVersion::Tls13, http2: Http2::Disabled, ..settings() };
    let certificate = Certificate::parse(EC, EC_SEC1).unwrap();
    let server = Running::start(blob, Some(Tls::new(Watched::fixed(certificate), &only_13).unwrap())).await;
    let stream = connect(&server, &rustls::version::TLS13, "http/1.1").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}
