//! Handing TLS over to the kernel.

use std::io;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;

use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpTlsRx;
use nix::sys::socket::sockopt::TcpTlsTx;
use nix::sys::socket::sockopt::TcpUlp;
use nix::sys::socket::sockopt::TlsCryptoInfo;
use rustls::ConnectionTrafficSecrets;
use rustls::ProtocolVersion;
use rustls::ServerConnection;
use tokio::net::TcpStream;

/// The kernel's name of its TLS.
const UPPER_LAYER: &[u8] = b"tls";

/// The bytes of an AES-GCM nonce that stay the same for all records: the kernel wants them apart (RFC 5288,
/// 3).
const SALT_LEN: usize = 4;

/// The bytes of an AES-GCM nonce (RFC 5116, 5.1).
const NONCE_LEN: usize = 12;

/// Whether this kernel does TLS, both versions with both ciphers: found out on a connection to ourselves,
/// since a kernel may have TLS and lack a cipher, which only shows when it is given a key. Asking makes it
/// load the modules, where it may.
pub(in crate::server) fn is_supported() -> bool {
    [libc::TLS_1_3_VERSION, libc::TLS_1_2_VERSION]
        .into_iter()
        .all(|version| [16, 32].into_iter().all(|key_len| takes_keys(version, key_len).is_ok()))
}

/// Gives the kernel keys of zeros, on a connection that nothing is sent over.
fn takes_keys(version: u16, key_len: usize) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let socket = std::net::TcpStream::connect(listener.local_addr()?)?;
    let unknown = || io::Error::from(io::ErrorKind::Unsupported);
    let keys = || aes_gcm(version, 0, &vec![0; key_len], &[0; NONCE_LEN]).ok_or_else(unknown);
    install(socket.as_fd(), &keys()?, &keys()?)
}

/// Whether the kernel can do what this connection agreed on. Only AES-GCM is in every kernel that has TLS.
pub(in crate::server) fn can_offload(session: &ServerConnection) -> bool {
    let Some(suite) = session.negotiated_cipher_suite() else { return false };
    let name = suite.suite().as_str().unwrap_or_default();
    name.contains("_AES_128_GCM_") || name.contains("_AES_256_GCM_")
}

/// Gives the keys of an established session to the kernel, which encrypts and decrypts from now on. Nothing
/// of what the client sent after its handshake may have been read, and nothing may be waiting to be sent.
///
/// # Errors
/// The kernel refused; the connection is of no use any more.
pub(in crate::server) fn offload(socket: &TcpStream, session: ServerConnection) -> io::Result<()> {
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => libc::TLS_1_3_VERSION,
        _ => libc::TLS_1_2_VERSION,
    };
    let secrets = session.dangerous_extract_secrets().map_err(io::Error::other)?;
    let [sending, receiving] =
        [secrets.tx, secrets.rx].map(|(sequence, secrets)| crypto(version, sequence, secrets));
    install(socket.as_fd(), &sending?, &receiving?)
}

fn install(socket: BorrowedFd<'_>, sending: &TlsCryptoInfo, receiving: &TlsCryptoInfo) -> io::Result<()> {
    setsockopt(&socket, TcpUlp::default(), &UPPER_LAYER)?;
    setsockopt(&socket, TcpTlsTx, sending)?;
    setsockopt(&socket, TcpTlsRx, receiving)?;
    Ok(())
}

/// A direction's secrets as the kernel takes them.
fn crypto(version: u16, sequence: u64, secrets: ConnectionTrafficSecrets) -> io::Result<TlsCryptoInfo> {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } | ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
            aes_gcm(version, sequence, key.as_ref(), iv.as_ref())
        }
        _ => None,
    }
    .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "a cipher that the kernel does not know"))
}

/// rustls gives TLS 1.2 secrets of either length under one name, so the key tells.
fn aes_gcm(version: u16, sequence: u64, key: &[u8], nonce: &[u8]) -> Option<TlsCryptoInfo> {
    let (salt, iv) = nonce.split_first_chunk::<SALT_LEN>()?;
    let iv = iv.try_into().ok()?;
    let rec_seq = sequence.to_be_bytes();
    let info = |cipher_type| libc::tls_crypto_info { version, cipher_type };
    if let Ok(key) = key.try_into() {
        let info = info(libc::TLS_CIPHER_AES_GCM_128);
        let salt = *salt;
        return Some(TlsCryptoInfo::Aes128Gcm(libc::tls12_crypto_info_aes_gcm_128 {
            info,
            iv,
            key,
            salt,
            rec_seq,
        }));
    }
    let key = key.try_into().ok()?;
    let info = info(libc::TLS_CIPHER_AES_GCM_256);
    Some(TlsCryptoInfo::Aes256Gcm(libc::tls12_crypto_info_aes_gcm_256 {
        info,
        iv,
        key,
        salt: *salt,
        rec_seq,
    }))
}
