//! Many small checks of one server: all are made, and all that fail are told.

use anyhow::Result;
use anyhow::bail;

use crate::http::Endpoint;

/// A name, and what is checked under it.
pub(crate) type Check = (&'static str, fn(&Endpoint) -> Result<()>);

/// Makes every check; gives their number.
///
/// # Errors
/// Any of them fails, or the server does not answer afterwards; all are named.
pub(crate) fn all<'a>(endpoint: &Endpoint, checks: impl IntoIterator<Item = &'a Check>) -> Result<usize> {
    let (mut made, mut failed) = (0, Vec::new());
    for (name, check) in checks {
        made += 1;
        if let Err(error) = check(endpoint) {
            failed.push(format!("{name}: {error:#}"));
        }
        if endpoint.get("/v2/").map_or(true, |answer| answer.status != 200) {
            failed.push(format!("{name}: the server does not answer afterwards"));
            break;
        }
    }
    if !failed.is_empty() {
        bail!("{} of {made} checks failed\n{}", failed.len(), failed.join("\n"));
    }
    Ok(made)
}
