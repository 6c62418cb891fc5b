//! The documents of the OCI specifications, and Docker's that came before them.
//!
//! Knows what a manifest says and what it points at. Does not know where a
//! manifest lies, whether what it points at exists, or HTTP. Nothing else in
//! the crate follows an edge of the graph: [`children`] is the only way down,
//! [`Manifest::subject`] the only way up.

mod descriptor;
mod error_code;
mod index;
mod manifest;
mod media_type;
mod object;
mod reference;

pub use descriptor::Annotations;
pub use descriptor::Descriptor;
pub use error_code::ErrorCode;
pub use index::IndexWriter;
pub use manifest::Child;
pub use manifest::Manifest;
pub use manifest::ManifestError;
pub use manifest::Role;
pub use manifest::children;
pub use media_type::ManifestType;
pub use media_type::stored_media_type;
pub use reference::Reference;
pub use reference::ReferenceError;
pub use reference::fallback_tag;
