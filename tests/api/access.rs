//! Who may do what, as clients find out.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use larder::auth::Htpasswd;
use larder::auth::Policy;
use larder::auth::Rights;
use larder::auth::UserRule;
use larder::credentials::Sources;
use larder::registry::Rules;
use larder::reload::Succession;
use larder::reload::Watched;

use crate::registry::Larder;
use crate::registry::sha256;

fn sources(policy: Policy) -> Sources {
    let lines =
        ["pusher", "puller"].map(|it| format!("{it}:{}", bcrypt::hash(format!("{it}'s"), 4).unwrap()));
    let htpasswd = Htpasswd::parse(lines.join("\n").as_bytes()).unwrap();
    Sources {
        policy,
        realm: "iri-registry".into(),
        htpasswd: Some(Watched::fixed(Succession::first(htpasswd))),
        pull_secret: None,
    }
}

fn pushers() -> UserRule {
    UserRule::Named(["pusher".to_owned()].into())
}

/// Nobody may do anything without a credential.
pub(crate) fn closed() -> Larder {
    Larder::with(Rules::default(), sources(Policy::closed(pushers(), pushers())))
}

/// Everybody may pull, and some may push.
fn mixed() -> Larder {
    Larder::with(Rules::default(), sources(Policy::closed(pushers(), pushers()).and_anonymous(Rights::PULL)))
}

pub(crate) fn basic(user: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{user}'s")))
}

const BASIC: &str = "Basic realm=\"iri-registry\"";

#[tokio::test]
async fn who_presents_nothing_learns_nothing() {
    let larder = closed();
    let digest = sha256(b"");
    for (method, path) in [
        ("GET", "/v2/".to_owned()),
        ("GET", "/v2/_catalog".to_owned()),
        ("GET", "/v2/a/tags/list".to_owned()),
        ("HEAD", "/v2/a/manifests/v1".to_owned()),
        ("GET", "/v2/a/manifests/.invalid".to_owned()),
        ("GET", "/v2/UPPER/manifests/v1".to_owned()),
        ("GET", "/v2/a/blobs/sha256:bad".to_owned()),
        ("GET", format!("/v2/a/referrers/{digest}")),
        ("POST", "/v2/a/blobs/uploads/".to_owned()),
        ("PATCH", "/v2/a/blobs/uploads/x".to_owned()),
        ("PUT", "/v2/a/manifests/v1".to_owned()),
        ("DELETE", format!("/v2/a/blobs/{digest}")),
        ("GET", "/v2/_larder/token".to_owned()),
    ] {
        for header in
            [None, Some("Basic Og=="), Some("Basic d3Jvbmc6d3Jvbmc="), Some("Basic ***"), Some("Nonsense")]
        {
            let mut ask = larder.ask(method, &path);
            if let Some(header) = header {
                ask = ask.header("authorization", header);
            }
            let answer = ask.send().await.is(401).has("www-authenticate", BASIC);
            assert!(method == "HEAD" || answer.json()["errors"][0]["code"] == "UNAUTHORIZED", "{answer:?}");
        }
    }
    for (path, status) in
        [("/", 200), ("/healthz", 200), ("/readyz", 200), ("/bogus", 404), ("/v2/bogus", 404)]
    {
        larder.get(path).await.is(status).has_no("www-authenticate");
    }
}

#[tokio::test]
async fn a_credential_gives_its_rights() {
    let larder = closed();
    for user in ["pusher", "puller"] {
        larder.ask("GET", "/v2/").header("authorization", &basic(user)).send().await.is(200);
        let unknown = larder.ask("GET", "/v2/a/manifests/v1").header("authorization", &basic(user));
        unknown.send().await.fails(404, "MANIFEST_UNKNOWN");
        let invalid = larder.ask("GET", "/v2/A/manifests/v1").header("authorization", &basic(user));
        invalid.send().await.fails(404, "NAME_INVALID");
    }
    let start =
        |user| larder.ask("POST", "/v2/a/blobs/uploads/").header("authorization", &basic(user)).send();
    let location = start("pusher").await.is(202).header("location");
    let denied = start("puller").await.fails(403, "DENIED").has_no("www-authenticate");
    assert!(denied.json()["errors"][0]["message"].as_str().unwrap().contains("push"));
    for (user, status) in [("puller", 403), ("pusher", 204)] {
        larder.ask("DELETE", &location).header("authorization", &basic(user)).send().await.is(status);
    }
}

async fn token(larder: &Larder, user: Option<&str>, scopes: &str) -> String {
    let mut ask = larder.ask("GET", &format!("/v2/_larder/token?service=registry.example:22625{scopes}"));
    if let Some(user) = user {
        ask = ask.header("authorization", &basic(user));
    }
    let answer = ask.send().await.is(200).json();
    assert!(answer["expires_in"].as_u64().unwrap() >= 60 && answer["token"] == answer["access_token"]);
    format!("Bearer {}", answer["token"].as_str().unwrap())
}

#[tokio::test]
async fn everybody_pulls_and_some_push_by_tokens() {
    let larder = mixed();
    let realm =
        "Bearer realm=\"http://registry.example:22625/v2/_larder/token\",service=\"registry.example:22625\"";
    larder.get("/v2/").await.is(401).has("www-authenticate", realm);
    larder.ask("GET", "/v2/").header("authorization", "Basic Og==").send().await.is(401);
    // Clients that sign in by themselves need no token.
    larder.get("/v2/a/manifests/v1").await.fails(404, "MANIFEST_UNKNOWN");
    let start = async |token: &str, name: &str| {
        larder.ask("POST", &format!("/v2/{name}/blobs/uploads/")).header("authorization", token).send().await
    };
    let scopes =
        "&scope=repository:a:pull,push&scope=repository:b:pull%20repository:c:*&scope=registry:catalog:*";
    for (user, allowed) in [(None, ""), (Some("puller"), ""), (Some("pusher"), "ac")] {
        let token = token(&larder, user, scopes).await;
        larder.ask("GET", "/v2/").header("authorization", &token).send().await.is(200);
        larder.ask("GET", "/v2/_catalog").header("authorization", &token).send().await.is(200);
        for name in ["a", "b", "c"] {
            let pull = larder.ask("GET", &format!("/v2/{name}/tags/list")).header("authorization", &token);
            pull.send().await.fails(404, "NAME_UNKNOWN");
        }
        for name in ["a", "b", "c", "d"] {
            let answer = start(&token, name).await;
            if allowed.contains(name) {
                answer.is(202);
                continue;
            }
            let scope = format!("{realm},scope=\"repository:{name}:pull,push\",error=\"insufficient_scope\"");
            answer.fails(401, "UNAUTHORIZED").has("www-authenticate", &scope);
        }
    }
    let expected = format!("{realm},error=\"invalid_token\"");
    start("Bearer e30.AAAA", "a").await.fails(401, "UNAUTHORIZED").has("www-authenticate", &expected);
    let wrong = larder.ask("GET", "/v2/_larder/token").header("authorization", "Basic d3Jvbmc6d3Jvbmc=");
    wrong.send().await.fails(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn tokens_by_form() {
    let larder = mixed();
    let post = |form: &'static str| larder.ask("POST", "/v2/_larder/token").body(form).send();
    let answer =
        post("grant_type=password&username=pusher&password=pusher%27s&scope=repository%3Aa%3Apush").await;
    let token = format!("Bearer {}", answer.is(200).json()["access_token"].as_str().unwrap());
    larder.ask("POST", "/v2/a/blobs/uploads/").header("authorization", &token).send().await.is(202);
    post("grant_type=password&username=pusher&password=wrong").await.fails(401, "UNAUTHORIZED");
    post("grant_type=refresh_token&refresh_token=x").await.fails(401, "UNAUTHORIZED");
    post("grant_type=password").await.is(200);
    let long = format!("grant_type=password&username={}", "x".repeat(100_000));
    larder.ask("POST", "/v2/_larder/token").body(long).send().await.is(400);
}

#[tokio::test]
async fn what_one_may_not_read_is_not_mounted() {
    let larder = mixed();
    let push =
        token(&larder, Some("pusher"), "&scope=repository:from:push,pull&scope=repository:to:push,pull")
            .await;
    let digest = sha256(b"content");
    let path = format!("/v2/from/blobs/uploads/?digest={digest}");
    larder.ask("POST", &path).header("authorization", &push).body("content").send().await.is(201);
    let mount = format!("/v2/to/blobs/uploads/?mount={digest}&from=from");
    let only_to = token(&larder, Some("pusher"), "&scope=repository:to:push").await;
    larder.ask("POST", &mount).header("authorization", &only_to).send().await.is(202);
    larder.ask("POST", &mount).header("authorization", &push).send().await.is(201);
}

/// Without credential files this host may do everything and others may pull.
#[tokio::test]
async fn without_credentials_only_this_host_pushes() {
    let open =
        || Sources { policy: Policy::without_credential_files(), htpasswd: None, ..sources(Policy::open()) };
    let mut larder = Larder::with(Rules::default(), open());
    let start = async |larder: &Larder| {
        larder.ask("POST", "/v2/a/blobs/uploads/").header("authorization", "Basic eDp5").send().await
    };
    larder.get("/v2/").await.is(200);
    start(&larder).await.fails(403, "DENIED");
    larder.get("/v2/_larder/status").await.fails(403, "DENIED");
    larder.peer = "[::1]:9".parse().unwrap();
    start(&larder).await.is(202);
    larder.get("/v2/_larder/status").await.is(200);
}

#[tokio::test]
async fn administration_needs_its_right() {
    let larder = closed();
    let endpoints = [
        ("GET", "/v2/_larder/status"),
        ("POST", "/v2/_larder/gc"),
        ("POST", "/v2/_larder/verify"),
        ("GET", "/v2/_larder/roots"),
        ("POST", "/v2/_larder/roots"),
        ("DELETE", "/v2/_larder/roots"),
        ("POST", "/v2/_larder/releases"),
        ("DELETE", "/v2/_larder/releases/4.22.1"),
        ("POST", "/v2/_larder/sync/jobs"),
        ("DELETE", "/v2/_larder/sync/jobs/0123456789abcdef"),
    ];
    for (method, path) in endpoints {
        larder.ask(method, path).send().await.is(401).has("www-authenticate", BASIC);
        let denied = larder.ask(method, path).header("authorization", &basic("puller")).send().await;
        denied.fails(403, "DENIED");
        let allowed = larder.ask(method, path).header("authorization", &basic("pusher")).send().await;
        assert!(![401, 403].contains(&allowed.status.as_u16()), "{method} {path}: {allowed:?}");
    }
    for path in ["/v2/_larder/releases", "/v2/_larder/releases/x", "/v2/_larder/sync/jobs"] {
        larder.get(path).await.is(401);
        let pulls = larder.ask("GET", path).header("authorization", &basic("puller")).send().await;
        assert!(![401, 403].contains(&pulls.status.as_u16()), "{path}: {pulls:?}");
    }
}
