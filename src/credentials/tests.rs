//! Signing in, with real hashes at bcrypt's lowest cost.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::auth::Decision;
use crate::auth::HostNames;
use crate::auth::Rights;
use crate::auth::UserRule;
use crate::auth::authorize;

const REMOTE: Origin = Origin::Address(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

fn htpasswd(users: &[(&str, &str)]) -> Watched<Succession<Htpasswd>> {
    let lines: Vec<_> = users
        .iter()
        .map(|(user, password)| format!("{user}:{}", bcrypt::hash(password, 4).unwrap()))
        .collect();
    Watched::fixed(Succession::first(Htpasswd::parse(lines.join("\n").as_bytes()).unwrap()))
}

fn pull_secret(user: &str, password: &str) -> Watched<Succession<PullSecret>> {
    let auth = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let text = format!(r#"{{"auths":{{"localhost:22625":{{"auth":"{auth}"}}}}}}"#);
    Watched::fixed(Succession::first(PullSecret::parse(text.as_bytes(), &HostNames::new(22625, [])).unwrap()))
}

fn closed() -> Policy {
    Policy::closed(UserRule::All, UserRule::Named(BTreeSet::new()))
}

fn credentials(policy: Policy) -> Credentials {
    let sources = Sources {
        policy,
        realm: "larder".into(),
        htpasswd: Some(htpasswd(&[("builder", "one"), ("openshift", "two")])),
        pull_secret: Some(pull_secret("openshift", "three")),
    };
    Credentials::new(sources, b"secret", AuthMetrics::default())
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

async fn rights(credentials: &Credentials, header: Option<&str>) -> Result<Rights, Rejected> {
    let identity = credentials.identify(header.map(str::as_bytes), REMOTE, UNIX_EPOCH).await;
    identity.map(|identity| identity.rights())
}

#[tokio::test]
async fn each_file_gives_what_it_gives() {
    let credentials = credentials(closed());
    for (user, password, expected) in [
        ("builder", "one", Ok(Rights::PULL_AND_PUSH)),
        ("openshift", "two", Ok(Rights::PULL_AND_PUSH)),
        ("openshift", "three", Ok(Rights::PULL)),
        ("builder", "three", Err(Rejected::WrongCredential)),
        ("nobody", "one", Err(Rejected::WrongCredential)),
    ] {
        for _ in 0..2 {
            assert_eq!(
                rights(&credentials, Some(&basic(user, password))).await,
                expected,
                "{user}:{password}"
            );
        }
    }
    assert_eq!(rights(&credentials, None).await, Ok(Rights::NONE));
    assert_eq!(rights(&credentials, Some("Basic Og==")).await, Ok(Rights::NONE));
    assert_eq!(rights(&credentials, Some("Basic x")).await, Err(Rejected::WrongCredential));
    assert_eq!(rights(&credentials, Some("Bearer x")).await, Err(Rejected::InvalidToken));
}

#[tokio::test]
async fn bcrypt_is_paid_once() {
    let credentials = credentials(closed());
    let header = basic("builder", "one");
    let many = (0..50).map(|_| rights(&credentials, Some(&header)));
    for result in all_at_once(many).await {
        assert_eq!(result, Ok(Rights::PULL_AND_PUSH));
    }
    assert_eq!(credentials.inner.metrics.computed.get(), 1);
}

/// Polls all at once, in one task.
async fn all_at_once<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in &mut pending {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *done = Some(output);
            }
        }
        if pending.iter().all(|(_, done)| done.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    pending.into_iter().filter_map(|(_, done)| done).collect()
}

#[tokio::test]
async fn a_file_that_changed_is_asked_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("htpasswd");
    let write =
        |password: &str| std::fs::write(&path, format!("u:{}", bcrypt::hash(password, 4).unwrap())).unwrap();
    write("old");
    let mut watcher = crate::reload::Watcher::new(crate::metrics::ReloadMetrics::default());
    let htpasswd = watcher
        .watch_succession("htpasswd", [path.clone()], Duration::ZERO, |[text]| Htpasswd::parse(text))
        .unwrap();
    let sources =
        Sources { policy: closed(), realm: String::new(), htpasswd: Some(htpasswd), pull_secret: None };
    let credentials = Credentials::new(sources, b"secret", AuthMetrics::default());
    assert!(rights(&credentials, Some(&basic("u", "old"))).await.is_ok());

    write("new");
    let shutdown = tokio_util::sync::CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    let force = watcher.force();
    tasks.spawn(watcher.run(shutdown.clone()));
    force.read_all().await;
    while rights(&credentials, Some(&basic("u", "new"))).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(rights(&credentials, Some(&basic("u", "old"))).await, Err(Rejected::WrongCredential));
    shutdown.cancel();
    assert!(tasks.join_next().await.unwrap().is_ok());
}

/// Files that a server follows, and its clock in the test's hand.
struct Rotation {
    directory: tempfile::TempDir,
    force: crate::reload::Force,
    credentials: Credentials,
    _tasks: tokio::task::JoinSet<()>,
}

const OVERLAP: Duration = Duration::from_secs(60);

impl Rotation {
    fn begin(users: &[(&str, &str)], secrets: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut watcher = crate::reload::Watcher::new(crate::metrics::ReloadMetrics::default());
        write_htpasswd(directory.path(), users);
        write_pull_secret(directory.path(), secrets);
        let paths = ["htpasswd", "secret"].map(|name| directory.path().join(name));
        let [htpasswd, secret] = paths;
        let htpasswd =
            watcher.watch_succession("htpasswd", [htpasswd], OVERLAP, |[text]| Htpasswd::parse(text));
        let secret = watcher.watch_succession("pull secret", [secret], OVERLAP, |[text]| {
            PullSecret::parse(text, &HostNames::new(22625, []))
        });
        let sources = Sources {
            policy: closed(),
            realm: String::new(),
            htpasswd: Some(htpasswd.unwrap()),
            pull_secret: Some(secret.unwrap()),
        };
        let force = watcher.force();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(watcher.run(tokio_util::sync::CancellationToken::new()));
        let credentials = Credentials::new(sources, b"secret", AuthMetrics::default());
        Self { directory, force, credentials, _tasks: tasks }
    }

    async fn users(&self, users: &[(&str, &str)]) {
        write_htpasswd(self.directory.path(), users);
        self.force.read_all().await;
    }

    async fn secrets(&self, secrets: &[(&str, &str)]) {
        write_pull_secret(self.directory.path(), secrets);
        self.force.read_all().await;
    }

    /// Who is let in.
    async fn check(&self, when: &str, expected: &[(&str, &str, bool)]) {
        for (user, password, right) in expected {
            for _ in 0..2 {
                let found = rights(&self.credentials, Some(&basic(user, password))).await;
                assert_eq!(found.is_ok(), *right, "{user}:{password} {when}: {found:?}");
            }
        }
    }
}

fn write_htpasswd(directory: &std::path::Path, users: &[(&str, &str)]) {
    let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
    let lines: Vec<_> = users.iter().map(|(user, password)| format!("{user}:{}", hash(password))).collect();
    std::fs::write(directory.join("htpasswd"), lines.join("\n")).unwrap();
}

fn write_pull_secret(directory: &std::path::Path, secrets: &[(&str, &str)]) {
    let hosts = ["localhost:22625", "127.0.0.1:22625"];
    let entry = |(host, (user, password)): (&str, &(&str, &str))| {
        (host.to_owned(), serde_json::json!({ "username": user, "password": password }))
    };
    let auths: serde_json::Map<_, _> = hosts.into_iter().zip(secrets).map(entry).collect();
    let text = serde_json::json!({ "auths": auths }).to_string();
    std::fs::write(directory.join("secret"), text).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_counts_for_a_while_and_what_was_removed_does_not() {
    let rotation = Rotation::begin(&[("eve", "e"), ("u", "old")], &[("node", "old"), ("gone", "g")]);
    let all = [("u", "old", true), ("eve", "e", true), ("node", "old", true), ("gone", "g", true)];
    rotation.check("at first", &all).await;
    rotation.users(&[("u", "new")]).await;
    rotation.secrets(&[("node", "new")]).await;
    let changed = [("u", "new", true), ("node", "new", true), ("eve", "e", false), ("gone", "g", false)];
    let former = |counts| [("u", "old", counts), ("node", "old", counts)];
    rotation.check("after the change", &changed).await;
    rotation.check("after the change", &former(true)).await;
    tokio::time::advance(OVERLAP - Duration::from_secs(20)).await;
    rotation.check("before the end of the overlap", &former(true)).await;
    tokio::time::advance(Duration::from_secs(21)).await;
    rotation.check("after the end of the overlap", &former(false)).await;
    rotation.check("after the end of the overlap", &changed).await;
}

#[tokio::test(start_paused = true)]
async fn who_was_removed_does_not_come_back_with_an_old_password() {
    let rotation = Rotation::begin(&[("u", "1"), ("v", "v")], &[("node", "x")]);
    rotation.users(&[("v", "v")]).await;
    rotation.check("removed", &[("u", "1", false), ("v", "v", true)]).await;
    rotation.users(&[("u", "2"), ("v", "v")]).await;
    rotation.check("back", &[("u", "1", false), ("u", "2", true), ("v", "v", true)]).await;
    rotation.users(&[("u", "3"), ("v", "v")]).await;
    rotation.check("changed", &[("u", "1", false), ("u", "2", true), ("u", "3", true)]).await;
}

/// The rights of a replaced credential end with it, whatever was made of it.
#[tokio::test(start_paused = true)]
async fn a_token_for_a_replaced_credential_ends_with_it() {
    let rotation = Rotation::begin(&[("u", "old")], &[("node", "x")]);
    rotation.users(&[("u", "new")]).await;
    tokio::time::advance(OVERLAP - Duration::from_secs(20)).await;
    let scopes = [Scope::parse("repository:a:pull").unwrap()];
    for (password, most) in [("old", Duration::from_secs(20)), ("new", TOKEN_LIFETIME)] {
        let header = basic("u", password);
        let identity = rotation.credentials.identify(Some(header.as_bytes()), REMOTE, UNIX_EPOCH).await;
        let (token, lifetime) = rotation.credentials.issue_token(&identity.unwrap(), &scopes, UNIX_EPOCH);
        assert!(lifetime <= most && lifetime > most / 2, "{password}: {lifetime:?}");
        let bearer = format!("Bearer {token}");
        for (now, counts) in [(UNIX_EPOCH, true), (UNIX_EPOCH + most, false)] {
            let holder = rotation.credentials.identify(Some(bearer.as_bytes()), REMOTE, now).await;
            assert_eq!(holder.is_ok(), counts, "{password} at {now:?}");
        }
    }
}

/// What is known costs no bcrypt during an overlap either.
#[tokio::test(start_paused = true)]
async fn an_overlap_costs_bcrypt_once_for_each_credential() {
    let rotation = Rotation::begin(&[("u", "old")], &[("node", "x")]);
    rotation.users(&[("u", "new")]).await;
    let before = rotation.credentials.inner.metrics.computed.get();
    for _ in 0..20 {
        rotation.check("during the overlap", &[("u", "old", true), ("u", "new", true)]).await;
    }
    assert_eq!(rotation.credentials.inner.metrics.computed.get() - before, 2);
}

#[tokio::test]
async fn credentials_are_ignored_where_none_are_configured() {
    let sources = Sources { policy: Policy::open(), realm: String::new(), htpasswd: None, pull_secret: None };
    let credentials = Credentials::new(sources, b"secret", AuthMetrics::default());
    for header in [None, Some("Basic x"), Some("Bearer x"), Some(&*basic("openshift", "old"))] {
        assert_eq!(rights(&credentials, header).await, Ok(Rights::ALL), "{header:?}");
    }
}

#[tokio::test]
async fn a_token_counts_like_its_credential_and_then_no_longer() {
    let credentials = credentials(closed().and_anonymous(Rights::PULL));
    let name = storage_layout::RepositoryName::parse("a").unwrap();
    let asked = [Scope::parse("repository:a:pull,push").unwrap()];
    let wider = Decision::WiderScope;
    for (header, pushing) in [(None, wider), (Some(basic("builder", "one")), Decision::Allow)] {
        let header = header.as_deref().map(str::as_bytes);
        let identity = credentials.identify(header, REMOTE, UNIX_EPOCH).await.unwrap();
        let (token, lifetime) = credentials.issue_token(&identity, &asked, UNIX_EPOCH);
        let token = format!("Bearer {token}");
        let holder = credentials.identify(Some(token.as_bytes()), REMOTE, UNIX_EPOCH).await.unwrap();
        assert_eq!(holder.name(), identity.name());
        assert_eq!(authorize(&holder, &crate::auth::Action::Pull(&name)), Decision::Allow);
        assert_eq!(authorize(&holder, &crate::auth::Action::Push(&name)), pushing);
        let late = credentials.identify(Some(token.as_bytes()), REMOTE, UNIX_EPOCH + lifetime).await;
        assert_eq!(late.unwrap_err(), Rejected::InvalidToken);
    }
}

#[tokio::test]
async fn guesses_are_slowed_while_known_credentials_are_not() {
    let credentials = credentials(closed());
    assert!(rights(&credentials, Some(&basic("builder", "one"))).await.is_ok());
    let began = std::time::Instant::now();
    for guess in 0..6 {
        assert_eq!(
            rights(&credentials, Some(&basic("builder", &guess.to_string()))).await,
            Err(Rejected::WrongCredential)
        );
    }
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    let began = std::time::Instant::now();
    assert!(rights(&credentials, Some(&basic("builder", "one"))).await.is_ok());
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
}

#[test]
fn addresses_that_count_as_one() {
    for (address, counted) in [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
    ] {
        assert_eq!(address_of(Origin::Address(address.parse().unwrap())), counted.parse::<IpAddr>().unwrap());
    }
}
