//! What upkeep is asked for and what it answers, as JSON documents.
//!
//! Knows their members, which programs rely on: new ones may come, none goes or changes. The server answers
//! with them and the command line prints them, so that both say the same. Does not know how upkeep is done.

mod add;
mod attach;
mod gc;
mod release;
mod verify;

pub use add::AddError;
pub use add::AddReport;
pub use add::AddRequest;
pub use add::PeerAnswer;
pub use add::add;
pub use attach::AttachRequest;
pub use attach::AttachedRelease;
pub use attach::AttachedRoot;
pub use attach::AttachedRoots;
pub use gc::GcEntry;
pub use gc::GcReport;
pub use gc::GcRequest;
pub use gc::KeptWhole;
pub use gc::collect;
pub use release::RemoveReport;
pub use release::RemoveRequest;
pub use release::remove;
pub use release::resume;
pub use verify::VerifyProblem;
pub use verify::VerifyReport;
pub use verify::VerifyRequest;
pub use verify::verify;
