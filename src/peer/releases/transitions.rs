//! `Transitions`: when each condition of each release last changed, over restarts too.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::SystemTime;

use crate::peer::releases::Changed;
use crate::release::Condition;
use crate::store::Store;

/// Under which name they are remembered in the store's own directory.
const DOCUMENT: &str = "releases.json";

/// When conditions changed, by release and type.
#[derive(Debug, Default)]
pub(super) struct Transitions {
    releases: BTreeMap<String, BTreeMap<String, (bool, String)>>,
    is_changed: bool,
}

impl Transitions {
    /// What is remembered. What cannot be read is forgotten: conditions are as old as this process then.
    pub(super) async fn read(store: &Store) -> Self {
        let document = store.document(DOCUMENT).await.ok().flatten().unwrap_or_default();
        let releases = serde_json::from_slice(&document).unwrap_or_default();
        Self { releases, is_changed: false }
    }

    /// When the conditions of a release changed, given that they are so at `now`. Where one was never seen it
    /// is as old as `first`.
    pub(super) fn observe(
        &mut self,
        release: &str,
        conditions: &[Condition],
        first: SystemTime,
        now: SystemTime,
    ) -> Changed {
        let seen = self.releases.entry(release.to_owned()).or_default();
        let mut changed = Changed::new();
        for condition in conditions {
            let kind = condition.kind.as_str();
            let since = match seen.get(kind) {
                Some((holds, since)) if *holds == condition.holds => humantime::parse_rfc3339(since).ok(),
                Some(_) => Some(now),
                None => Some(first.min(now)),
            };
            let since = since.unwrap_or(now);
            changed.insert(kind, (condition.holds, since));
            let entry = (condition.holds, humantime::format_rfc3339_seconds(since).to_string());
            if seen.insert(kind.to_owned(), entry.clone()) != Some(entry) {
                self.is_changed = true;
            }
        }
        changed
    }

    /// Forgets all releases but these, and remembers what changed.
    pub(super) async fn keep(&mut self, store: &Store, releases: impl Iterator<Item = String>) {
        let kept: BTreeSet<_> = releases.collect();
        let before = self.releases.len();
        self.releases.retain(|release, _| kept.contains(release));
        if !self.is_changed && before == self.releases.len() {
            return;
        }
        let document = serde_json::to_vec(&self.releases).unwrap_or_default();
        if let Some(writer) = store.writer()
            && let Err(error) = writer.put_document(DOCUMENT, document.into()).await
        {
            tracing::debug!(error = %error, "when conditions changed cannot be remembered");
        }
        self.is_changed = false;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::release::Facts;

    #[test]
    fn only_what_changes_is_new() {
        let mut transitions = Transitions::default();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |seconds| start + Duration::from_secs(seconds);
        let whole = Facts { images: Some((1, 1)), ..Facts::default() };
        let part = Facts { images: Some((2, 1)), ..Facts::default() };
        let mut observe = |facts: &Facts, now| transitions.observe("x", &facts.conditions(), start, now);
        assert_eq!(observe(&whole, at(10))["Available"], (true, start));
        assert_eq!(observe(&whole, at(20))["Available"], (true, start));
        let changed = observe(&part, at(30));
        assert_eq!((changed["Available"], changed["Mounted"]), ((false, at(30)), (false, start)));
        assert_eq!(observe(&part, at(40))["Degraded"], (true, at(30)));
    }
}
