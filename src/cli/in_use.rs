//! What may not go because the cluster runs it.

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct InUse {
    /// A release that the cluster runs: it does not go. May be given again
    #[arg(long, value_name = "RELEASE")]
    pub(super) in_use: Vec<String>,
    /// Even a release that is in use goes
    #[arg(long)]
    pub(super) force: bool,
}
