//! `Verdicts`: which credentials were found right or wrong a while ago.

use std::cell::RefCell;
use std::fmt;

use quick_cache::sync::Cache;
use quick_cache::unsync;
use sha2::Digest as _;
use sha2::Sha256;
use thread_local::ThreadLocal;
use tokio::time::Instant;

use crate::auth::Credential;
use crate::auth::Identity;
use crate::credentials::Files;
use crate::credentials::Readings;
use crate::credentials::Rejected;
use crate::credentials::Verdict;

/// Verdicts on credentials, each about the files that were in force when it was found, and forgotten when it
/// holds no longer. A credential is known by a keyed hash, so that memory holds nothing that could be tried
/// elsewhere.
pub(super) struct Verdicts {
    /// What has hashed one block, with the secret, and goes on from there. What HMAC does more is for those whose hashes
    /// are seen: it keeps others from appending to what was hashed.
    keyed: Sha256,
    cache: Cache<Key, (Verdict, Files)>,
    /// Whom whole headers were found to prove, so that those who ask often are known without a look at what
    /// theirs says. Each thread has its own: two that count references to the same thing wait for each other.
    headers: ThreadLocal<RefCell<unsync::Cache<Key, (Identity, Files)>>>,
}

/// How many verdicts are kept. A cluster has a handful of credentials; a client that sends many wrong ones
/// pushes out the oldest, which then cost one more bcrypt.
const CAPACITY: usize = 1024;

/// The longest header that is recognized as a whole: those of people and of pull secrets have a hundred
/// bytes. Whoever sends more has no use of its being hashed first.
const LONGEST_HEADER: usize = 1024;

/// A credential and the readings of the files that it was held against. As long as an entry is kept, so are
/// the readings, so no later one can have their addresses.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    fingerprint: [u8; 32],
    readings: Readings,
}

impl Verdicts {
    pub(super) fn new(secret: &[u8]) -> Self {
        let keyed = Sha256::new().chain_update(Sha256::digest(secret)).chain_update([0; 32]);
        Self { keyed, cache: Cache::new(CAPACITY), headers: ThreadLocal::new() }
    }

    /// The verdict on `credential` by `files`; `check` finds it if nobody did yet. Whoever asks for the same
    /// while it is being found waits for it: a node pulls many images at once.
    pub(super) async fn find_or(
        &self,
        credential: &Credential,
        files: &Files,
        check: impl Future<Output = Result<Verdict, Rejected>>,
    ) -> Result<Verdict, Rejected> {
        let key = self.credential_key(credential, files);
        if self.cache.get(&key).is_some_and(|(verdict, _)| !verdict.holds(Instant::now())) {
            self.cache.remove(&key);
        }
        let check = async { Ok((check.await?, files.clone())) };
        self.cache.get_or_insert_async(&key, check).await.map(|(verdict, _)| verdict)
    }

    /// Whom a header that is exactly this proved, by these readings of the files.
    pub(super) fn recognize(&self, header: &[u8], readings: Readings) -> Option<Identity> {
        let key = self.header_key(header, readings)?;
        let own = self.headers.get()?.borrow();
        let (identity, _) = own.get(&key)?;
        let counts = identity.until().is_none_or(|until| Instant::now().into_std() < until);
        counts.then(|| identity.clone())
    }

    /// Remembers whom a header proves.
    pub(super) fn remember(&self, header: &[u8], files: &Files, identity: &Identity) {
        if let Some(key) = self.header_key(header, files.readings()) {
            let own = self.headers.get_or(|| RefCell::new(unsync::Cache::new(CAPACITY)));
            own.borrow_mut().insert(key, (identity.apart(), files.clone()));
        }
    }

    fn header_key(&self, header: &[u8], readings: Readings) -> Option<Key> {
        let is_short = header.len() <= LONGEST_HEADER;
        is_short.then(|| Key { fingerprint: self.fingerprint([b"h", header]), readings })
    }

    /// A name holds no colon, so joining the two with one is unambiguous.
    fn credential_key(&self, credential: &Credential, files: &Files) -> Key {
        let (user, password) = (credential.user.as_bytes(), credential.password.as_bytes());
        let fingerprint = self.fingerprint([b"c", user, b":", password]);
        Key { fingerprint, readings: files.readings() }
    }

    /// Of the parts together; the first tells what they are.
    fn fingerprint<const N: usize>(&self, parts: [&[u8]; N]) -> [u8; 32] {
        parts.into_iter().fold(self.keyed.clone(), |hash, part| hash.chain_update(part)).finalize().into()
    }
}

impl fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verdicts({})", self.cache.len())
    }
}
