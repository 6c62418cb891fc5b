//! Who may do what: credentials and rights, as values.
//!
//! Knows the text of the files that credentials come in, what an
//! `Authorization` header says, and which right an action needs. Does not know
//! where a file lies or when it changed, what time it is, or how a refusal
//! looks on the wire: bytes, addresses and `now` arrive, decisions leave.

mod auth_file;
mod authorization;
mod htpasswd;
mod identity;
mod password;
mod policy;
mod pull_secret;
mod rights;
mod scope;
mod token;

pub use auth_file::AuthFile;
pub use authorization::Authorization;
pub use htpasswd::Htpasswd;
pub use htpasswd::HtpasswdError;
pub use htpasswd::RefusedEntry;
pub use htpasswd::RefusedHash;
pub use identity::Action;
pub use identity::Decision;
pub use identity::Identity;
pub use identity::Refusal;
pub use identity::authorize;
pub use password::Credential;
pub use password::Password;
pub use policy::Origin;
pub use policy::Policy;
pub use policy::Scheme;
pub use policy::UserRule;
pub use pull_secret::HostNames;
pub use pull_secret::PullSecret;
pub use pull_secret::PullSecretError;
pub use rights::Right;
pub use rights::Rights;
pub use scope::Scope;
pub use token::TOKEN_LIFETIME;
pub use token::Token;
pub use token::TokenError;
pub use token::TokenKey;
