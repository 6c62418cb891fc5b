//! A connection over TLS 1.3 whose bodies the kernel throws away, still encrypted.
//!
//! Knows the record layer (RFC 8446, section 5): it decrypts what may hold a
//! head, and of the rest reads only the five bytes that say how long a record
//! is. So the client costs little here too. It does not verify certificates;
//! that the bytes are right is asked elsewhere, by a client that decrypts all.

use std::net::TcpStream;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use aws_lc_rs::aead;
use aws_lc_rs::aead::Aad;
use aws_lc_rs::aead::LessSafeKey;
use aws_lc_rs::aead::Nonce;
use aws_lc_rs::aead::UnboundKey;
use rustix::net::RecvFlags;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::ConnectionTrafficSecrets;
use rustls::DigitallySignedStruct;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;

use crate::client::Request;
use crate::client::plain::Pending;
use crate::client::plain::Progress;
use crate::client::plain::receive;
use crate::client::plain::send_all;

/// `type`, `legacy_record_version`, `length`.
const RECORD_HEAD: usize = 5;

/// What a record holds beside its content: the content's type and the tag of the AEAD.
const RECORD_EXTRA: usize = 1 + 16;

/// The most content that one record carries.
const RECORD_CONTENT: usize = 16 * 1024;

const APPLICATION_DATA: u8 = 23;
const HANDSHAKE: u8 = 22;

/// How many records are dropped before other connections get their turn.
const RECORDS_AT_ONCE: usize = 64;

/// A connection after its handshake.
#[derive(Debug)]
pub(crate) struct Tls {
    socket: TcpStream,
    to_server: Direction,
    from_server: Direction,
    pending: Pending,
    record: Record,
}

/// How much of the current record has come in.
#[derive(Debug)]
enum Record {
    Head { bytes: [u8; RECORD_HEAD], have: usize },
    Kept { head: [u8; RECORD_HEAD], bytes: Vec<u8>, have: usize },
    Dropped { left: usize, content: u64 },
}

impl Record {
    fn next() -> Self {
        Self::Head { bytes: [0; RECORD_HEAD], have: 0 }
    }
}

impl Tls {
    /// Shakes hands.
    pub(crate) fn new(mut socket: TcpStream) -> Result<Self> {
        let mut session = session()?;
        while session.is_handshaking() || session.wants_write() {
            session.complete_io(&mut socket)?;
        }
        let secrets = session.dangerous_extract_secrets()?;
        Ok(Self {
            socket,
            to_server: Direction::new(secrets.tx)?,
            from_server: Direction::new(secrets.rx)?,
            pending: Pending::nothing(),
            record: Record::next(),
        })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Sends a request. Blocks until the kernel has taken it.
    pub(crate) fn send(&mut self, request: &Request) -> Result<()> {
        self.pending = Pending::to(request);
        send_all(&self.socket, &self.to_server.seal(&request.bytes)?)
    }

    /// Takes what is there, some records at most. `scratch` gives the most that is dropped at once.
    pub(crate) fn advance(&mut self, scratch: &mut [u8]) -> Result<Progress> {
        let mut taken = 0;
        for _ in 0..RECORDS_AT_ONCE {
            match self.advance_record(scratch)? {
                None if taken == 0 => return Ok(Progress::Idle),
                None => break,
                Some(Progress::Done(bytes)) => return Ok(Progress::Done(taken + bytes)),
                Some(Progress::Body(bytes)) => taken += bytes,
                Some(Progress::Idle) => {}
            }
        }
        Ok(Progress::Body(taken))
    }

    /// One call to the kernel; `None` where nothing is there.
    fn advance_record(&mut self, scratch: &mut [u8]) -> Result<Option<Progress>> {
        let (room, flags) = match &mut self.record {
            Record::Head { bytes, have } => (bytes.get_mut(*have..), RecvFlags::DONTWAIT),
            Record::Kept { bytes, have, .. } => (bytes.get_mut(*have..), RecvFlags::DONTWAIT),
            Record::Dropped { left, .. } => {
                let most = scratch.len().min(*left);
                (scratch.get_mut(..most), RecvFlags::DONTWAIT | RecvFlags::TRUNC)
            }
        };
        let Some(got) = receive(&self.socket, room.unwrap_or_default(), flags)? else { return Ok(None) };
        self.received(got).map(Some)
    }

    fn received(&mut self, got: usize) -> Result<Progress> {
        match &mut self.record {
            Record::Head { bytes, have } => {
                *have += got;
                if *have == RECORD_HEAD {
                    let head = *bytes;
                    self.record = self.begin_record(head)?;
                }
                Ok(Progress::Idle)
            }
            Record::Kept { head, bytes, have } => {
                *have += got;
                if *have < bytes.len() {
                    return Ok(Progress::Idle);
                }
                let (head, mut bytes) = (*head, std::mem::take(bytes));
                self.record = Record::next();
                self.open(head, &mut bytes)
            }
            Record::Dropped { left, content } => {
                *left -= got;
                if *left > 0 {
                    return Ok(Progress::Idle);
                }
                let content = *content;
                self.record = Record::next();
                self.from_server.skip();
                Ok(self.pending.take(content))
            }
        }
    }

    fn begin_record(&self, head: [u8; RECORD_HEAD]) -> Result<Record> {
        let [kind, _, _, high, low] = head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind != APPLICATION_DATA || !(RECORD_EXTRA..=RECORD_CONTENT + 256).contains(&length) {
            bail!("a record of type {kind} and {length} bytes");
        }
        if self.pending.awaits_head() {
            return Ok(Record::Kept { head, bytes: vec![0; length], have: 0 });
        }
        Ok(Record::Dropped { left: length, content: (length - RECORD_EXTRA) as u64 })
    }

    fn open(&mut self, head: [u8; RECORD_HEAD], record: &mut [u8]) -> Result<Progress> {
        let plain = self.from_server.open(head, record)?;
        match plain.split_last() {
            Some((&APPLICATION_DATA, content)) => self.pending.begin(content),
            // A session ticket: of no use here.
            Some((&HANDSHAKE, _)) => Ok(Progress::Idle),
            other => bail!("a record of inner type {:?}", other.map(|(kind, _)| kind)),
        }
    }
}

/// The keys of one direction, and how many records it has carried.
#[derive(Debug)]
struct Direction {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Direction {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self> {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            bail!("the server agreed to another cipher than the only one offered");
        };
        let key =
            UnboundKey::new(&aead::AES_128_GCM, key.as_ref()).map_err(|_| anyhow!("not an AES-128 key"))?;
        Ok(Self { key: LessSafeKey::new(key), iv: iv.as_ref().try_into()?, sequence })
    }

    /// RFC 8446, section 5.3: the record's number, exclusive-or the IV.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().rev().zip(self.sequence.to_be_bytes().iter().rev()) {
            *byte ^= number;
        }
        self.skip();
        Nonce::assume_unique_for_key(nonce)
    }

    fn skip(&mut self) {
        self.sequence += 1;
    }

    fn seal(&mut self, content: &[u8]) -> Result<Vec<u8>> {
        if content.len() > RECORD_CONTENT {
            bail!("a request of {} bytes does not fit into one record", content.len());
        }
        let [high, low] = u16::try_from(content.len() + RECORD_EXTRA)?.to_be_bytes();
        let head = [APPLICATION_DATA, 3, 3, high, low];
        let mut record = [content, &[APPLICATION_DATA]].concat();
        let nonce = self.nonce();
        let sealed = self.key.seal_in_place_append_tag(nonce, Aad::from(head), &mut record);
        sealed.map_err(|_| anyhow!("sealing a record"))?;
        Ok([head.as_slice(), &record].concat())
    }

    fn open<'r>(&mut self, head: [u8; RECORD_HEAD], record: &'r mut [u8]) -> Result<&'r [u8]> {
        let nonce = self.nonce();
        let opened = self.key.open_in_place(nonce, Aad::from(head), record);
        opened.map(|plain| &*plain).map_err(|_| anyhow!("a record does not open"))
    }
}

/// A session that offers one version and one suite, so that all servers do the same work.
pub(crate) fn session() -> Result<ClientConnection> {
    let provider = CryptoProvider {
        cipher_suites: vec![provider::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..provider::default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    let name = ServerName::try_from("localhost").context("a name that is always valid")?;
    Ok(ClientConnection::new(Arc::new(config), name)?)
}

/// Accepts every certificate: the server was started by this very process, on loopback.
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
