//! TLS as a cluster needs it: the post-quantum group, both versions, every form of key, and new files without
//! a restart.

use std::fs;
use std::io::Read;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::NamedGroup;
use rustls::ProtocolVersion;
use rustls::StreamOwned;
use rustls::SupportedProtocolVersion;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::ServerName;
use rustls::version::TLS12;
use rustls::version::TLS13;

use crate::bench::Bench;
use crate::http::Endpoint;
use crate::http::Response;
use crate::server::Registry;
use crate::server::Setup;
use crate::tls::Authority;
use crate::tls::Identity;
use crate::tools::Tool;

/// How long changed files may take to come into force.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);

type Session = StreamOwned<ClientConnection, TcpStream>;

/// Versions, groups and protocols.
pub(crate) fn negotiated(bench: &Bench) -> Result<String> {
    let authority = Authority::new()?;
    let identity = authority.issue(&bench.directory().join("certs"))?;
    let root = bench.directory().join("root");
    let registry = bench.registry(&Setup::new(&root).tls(&identity, authority.client(&["http/1.1"])?))?;
    let hybrid = provider::kx_group::X25519MLKEM768;
    let curve = provider::kx_group::X25519;
    for (version, group, protocols, expected) in [
        (&TLS13, hybrid, ["http/1.1"].as_slice(), b"http/1.1".as_slice()),
        (&TLS13, curve, &["h2", "http/1.1"], b"h2"),
        (&TLS12, curve, &["http/1.1"], b"http/1.1"),
        (&TLS12, provider::kx_group::SECP256R1, &[], b""),
    ] {
        let session = shake(&registry.endpoint, &only(&authority, version, group, protocols)?)?;
        let connection = &session.conn;
        ensure!(
            connection.protocol_version() == Some(version.version),
            "version {:?}",
            connection.protocol_version()
        );
        let found = connection.negotiated_key_exchange_group().map(SupportedKxGroup::name);
        ensure!(found == Some(group.name()), "group {found:?}, not {:?}", group.name());
        ensure!(
            connection.alpn_protocol().unwrap_or_default() == expected,
            "protocol {:?}",
            connection.alpn_protocol()
        );
    }
    prefers_hybrid(&registry.endpoint, &authority)?;
    plain_request_is_answered(&registry.endpoint)?;
    registry.stop()?;
    Ok("1.3 with X25519MLKEM768, 1.3 and 1.2 with curves, h2 and http/1.1, a plain request answered".into())
}

/// A client that offers both gets the hybrid group.
fn prefers_hybrid(endpoint: &Endpoint, authority: &Authority) -> Result<()> {
    let session = shake(endpoint, &authority.client(&["http/1.1"])?)?;
    let group = session.conn.negotiated_key_exchange_group().map(SupportedKxGroup::name);
    ensure!(group == Some(NamedGroup::X25519MLKEM768), "group {group:?}");
    ensure!(session.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3), "not TLS 1.3");
    Ok(())
}

/// A plain request on the TLS port: an answer that says so, or an end at once; never silence.
fn plain_request_is_answered(endpoint: &Endpoint) -> Result<()> {
    let plain = Endpoint::plain(endpoint.address);
    let began = Instant::now();
    let answer = plain.get("/v2/");
    ensure!(began.elapsed() < Duration::from_secs(5), "a plain request hung for {:?}", began.elapsed());
    ensure!(
        answer.is_ok_and(|answer| answer.status == 400),
        "a plain request on the TLS port was not answered 400"
    );
    Ok(())
}

/// RSA and ECDSA keys in every form that openssl writes them in.
pub(crate) fn keys(bench: &Bench) -> Result<String> {
    let forms: [(&str, &[&str]); 4] = [
        ("rsa-pkcs8", &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        ("rsa-pkcs1", &["genrsa", "-traditional", "2048"]),
        ("ecdsa-pkcs8", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("ecdsa-sec1", &["ecparam", "-name", "prime256v1", "-genkey", "-noout"]),
    ];
    for (name, arguments) in forms {
        let directory = bench.directory().join(name);
        let identity = issue_by_openssl(bench, &directory, arguments).with_context(|| name)?;
        let client = trusting(&identity)?;
        let registry = bench
            .registry(&Setup::new(&directory.join("root")).tls(&identity, client))
            .with_context(|| name)?;
        registry.endpoint.get("/v2/")?.expect(200)?;
        registry.stop()?;
    }
    Ok("RSA in PKCS#1 and PKCS#8, ECDSA in SEC1 and PKCS#8".into())
}

/// A self-signed certificate with a key as openssl writes it.
fn issue_by_openssl(bench: &Bench, directory: &Path, arguments: &[&str]) -> Result<Identity> {
    fs::create_dir_all(directory)?;
    let identity = Identity { certificate: directory.join("tls.crt"), key: directory.join("tls.key") };
    let openssl = bench.tools().path(Tool::Openssl)?;
    let (verb, options) = arguments.split_first().context("a command has a verb")?;
    bench
        .run("key", Command::new(&openssl).arg(verb).arg("-out").arg(&identity.key).args(options))?
        .success()?;
    let mut request = Command::new(&openssl);
    request.args([
        "req",
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
    ]);
    request.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    request.arg("-key").arg(&identity.key).arg("-out").arg(&identity.certificate);
    bench.run("certificate", &request)?.success()?;
    Ok(identity)
}

fn trusting(identity: &Identity) -> Result<Arc<ClientConfig>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&identity.certificate).context("reading a certificate")?)?;
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// New files come into force by a symlink swap, as Kubernetes mounts change, and no connection is dropped.
pub(crate) fn reloaded(bench: &Bench) -> Result<String> {
    let (old, new) = (Authority::new()?, Authority::new()?);
    let mount = bench.directory().join("mount");
    let identity = old.mount(&mount, "..2026_1")?;
    let root = bench.directory().join("root");
    let registry = bench.registry(&Setup::new(&root).tls(&identity, old.client(&["http/1.1"])?))?;
    let mut kept = shake(&registry.endpoint, &old.client(&["http/1.1"])?)?;
    ping(&mut kept).context("before")?;

    new.issue(&mount.join("..2026_2"))?;
    swap(&mount, "..2026_2")?;
    let took = wait_until_trusted(&registry, &new)?;
    ping(&mut kept).context("a connection from before the change")?;

    fs::create_dir_all(mount.join("..2026_3"))?;
    fs::write(mount.join("..2026_3/tls.crt"), "no certificate")?;
    fs::write(mount.join("..2026_3/tls.key"), "no key")?;
    swap(&mount, "..2026_3")?;
    std::thread::sleep(took + Duration::from_secs(1));
    wait_until_trusted(&registry, &new).context("after files that do not parse")?;
    ping(&mut kept).context("a connection from before both changes")?;
    registry.stop()?;
    Ok(format!("in force after {took:.1?}, no connection dropped, files that do not parse change nothing"))
}

/// What a kubelet does to a mounted Secret.
pub(crate) fn swap(mount: &Path, version: &str) -> Result<()> {
    symlink(version, mount.join("..data_tmp"))?;
    Ok(fs::rename(mount.join("..data_tmp"), mount.join("..data"))?)
}

fn wait_until_trusted(registry: &Registry, authority: &Authority) -> Result<Duration> {
    let began = Instant::now();
    let client = authority.client(&["http/1.1"])?;
    while shake(&registry.endpoint, &client).is_err() {
        ensure!(began.elapsed() < RELOAD_LIMIT, "not in force after {RELOAD_LIMIT:?}\n{}", registry.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(began.elapsed())
}

fn ping(session: &mut Session) -> Result<()> {
    session.write_all(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    // The reader of a response may read ahead, and nothing follows this one.
    Response::read(Read::by_ref(session), "GET", "/v2/")?.expect(200)?;
    Ok(())
}

fn shake(endpoint: &Endpoint, config: &Arc<ClientConfig>) -> Result<Session> {
    let socket = TcpStream::connect(endpoint.address)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connection = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
    let mut session = StreamOwned::new(connection, socket);
    while session.conn.is_handshaking() {
        session.conn.complete_io(&mut session.sock)?;
    }
    Ok(session)
}

/// A client that knows one version, one group and these protocols.
fn only(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    group: &'static dyn SupportedKxGroup,
    protocols: &[&str],
) -> Result<Arc<ClientConfig>> {
    let provider = rustls::crypto::CryptoProvider { kx_groups: vec![group], ..provider::default_provider() };
    let builder =
        ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[version])?;
    let mut config = builder.with_root_certificates(authority.roots()?).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}
