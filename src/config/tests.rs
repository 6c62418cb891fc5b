//! What files, variables and flags come to.

#![allow(clippy::unwrap_used, clippy::panic, clippy::too_many_lines)]

use super::*;
use crate::auth::Origin;

/// `/etc/registry/config.yaml` as OpenShift's image of distribution carries it.
const PACKAGED: &str = "\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
";

/// The least that distribution takes.
const LEAST: &str = "version: 0.1\nstorage: filesystem\n";

fn surroundings() -> Surroundings {
    Surroundings { root: "/data".into(), admin_socket: Some("/run/larder/admin.sock".into()) }
}

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Refused> {
    let variables: Vec<_> = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Config::load(Some(DistributionFile { text, variables: &variables }), Given::default(), &surroundings())
}

fn flags(given: Given) -> Result<Loaded, Refused> {
    Config::load(None, given, &surroundings())
}

fn flag<T>(name: &str, value: T) -> Option<Setting<T>> {
    Some(Setting::new(value, Source::Flag(name.to_owned())))
}

/// `name = value (source)`, for the rows whose source is not the default.
fn given_rows(config: &Config) -> Vec<String> {
    let given = config.rows().into_iter().filter(|row| row.source != Source::Default);
    given
        .map(|row| format!("{} = {} ({})", row.name, row.value.unwrap_or_else(|| "-".into()), row.source))
        .collect()
}

fn notices(loaded: &Loaded) -> Vec<String> {
    loaded.notices.iter().map(ToString::to_string).collect()
}

#[test]
fn the_unit_of_a_clusters_node() {
    let variables = [
        ("REGISTRY_HTTP_ADDR", "0.0.0.0:22625"),
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "/certs/tls.crt"),
        ("REGISTRY_HTTP_TLS_KEY", "/certs/tls.key"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY", r#"{"enabled":true}"#),
        ("REGISTRY_DIR", "/var/lib/iri-registry"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ];
    let loaded = load(PACKAGED, &variables).unwrap();
    assert_eq!(
        given_rows(&loaded.config),
        [
            "root = /var/lib/registry (line 9)",
            "access = read-only (`REGISTRY_STORAGE_MAINTENANCE_READONLY`)",
            "listen = [::]:22625 (`REGISTRY_HTTP_ADDR`)",
            "tls-cert = /certs/tls.crt (`REGISTRY_HTTP_TLS_CERTIFICATE`)",
            "tls-key = /certs/tls.key (`REGISTRY_HTTP_TLS_KEY`)",
            "headers = X-Content-Type-Options: nosniff (line 13)",
        ]
    );
    assert_eq!(notices(&loaded), ["unknown environment variable `REGISTRY_DIR` is ignored"]);
    assert!(!loaded.config.auth.policy().wants_credentials());
}

#[test]
fn authentication_by_variables() {
    let variables = [
        ("REGISTRY_AUTH_HTPASSWD_REALM", "iri-registry"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/etc/registry/auth/htpasswd"),
    ];
    for variables in [
        variables.as_slice(),
        &[("REGISTRY_AUTH", "htpasswd"), variables[0], variables[1]],
        &[("REGISTRY_AUTH", "{htpasswd: {realm: iri-registry, path: /etc/registry/auth/htpasswd}}")],
    ] {
        let auth = load(PACKAGED, variables).unwrap().config.auth;
        assert_eq!(auth.realm.value, "iri-registry");
        assert_eq!(auth.htpasswd.as_ref().unwrap().value, PathBuf::from("/etc/registry/auth/htpasswd"));
        let policy = auth.policy();
        assert!(policy.wants_credentials());
        assert_eq!(policy.htpasswd_user("openshift").rights(), Rights::ALL);
        assert_eq!(policy.anonymous(Origin::Address([127, 0, 0, 1].into())).rights(), Rights::NONE);
    }
}

#[test]
fn read_only_in_both_spellings() {
    for (name, value, expected) in [
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY", r#"{"enabled":true}"#, Access::ReadOnly),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY", "{enabled: no}", Access::ReadWrite),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true", Access::ReadOnly),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "\"true\"", Access::ReadOnly),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "false", Access::ReadWrite),
        ("REGISTRY_STORAGE_MAINTENANCE", "{readonly: {enabled: true}}", Access::ReadOnly),
    ] {
        assert_eq!(load(PACKAGED, &[(name, value)]).unwrap().config.access.value, expected, "{name}={value}");
    }
}

#[test]
fn every_key_that_is_read() {
    let text = "\
version: '0.1'
log: {level: DEBUG, formatter: logstash, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: /r, maxthreads: 100}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: true, age: 1h, interval: 30m, dryrun: false}}
  redirect: {disable: true}
auth: {htpasswd: {realm: r, path: /h}}
http:
  net: tcp
  addr: localhost:5000
  host: https://registry.example/
  prefix: /p/
  secret: 0755
  relativeurls: true
  draintimeout: 1m
  tls: {certificate: c, key: k, clientcas: [ca], minimumtls: tls1.3, ciphersuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}
  headers: {A: [b, c], D: e}
  debug: {addr: ':5001', prometheus: {enabled: true, path: /m}}
  http2: {disabled: true}
catalog: {maxentries: 7}
";
    let loaded = load(text, &[]).unwrap();
    assert_eq!(notices(&loaded), [""; 0]);
    let shown: Vec<_> = loaded
        .config
        .rows()
        .into_iter()
        .map(|row| format!("{}={}", row.name, row.value.unwrap_or_default()))
        .collect();
    assert_eq!(
        shown,
        [
            "root=/r",
            "access=read-write",
            "listen=localhost:5000",
            "tls-cert=c",
            "tls-key=k",
            "tls-minimum=tls1.3",
            "tls-client-cas=ca",
            "tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "htpasswd=/h",
            "pull-secret=",
            "host-name=",
            "allow-anonymous=",
            "realm=r",
            "credentials-overlap=0s",
            "http2=disabled",
            "prefix=/p/",
            "external-url=https://registry.example",
            "headers=A: b; A: c; D: e",
            "secret=(not shown)",
            "drain-timeout=1m",
            "catalog-limit=7",
            "deletes=allowed",
            "upload-purge=after 1h, every 30m",
            "metrics-listen=[::]:5001",
            "metrics-path=/m",
            "admin-socket=/run/larder/admin.sock",
            "log-level=debug",
            "log-format=json",
            "access-log=off",
        ]
    );
    assert_eq!(loaded.config.secret.unwrap().value, Secret::from("0755"));
}

#[test]
fn defaults_are_those_of_the_rules() {
    let distribution = load(LEAST, &[]).unwrap().config;
    let larder = flags(Given::default()).unwrap().config;
    for (config, root, listen, deletes) in [
        (distribution, "/var/lib/registry", "[::]:5000", Deletes::Refused),
        (larder, "/data", "127.0.0.1:22625", Deletes::Allowed),
    ] {
        assert_eq!(given_rows(&config), [""; 0], "nothing was given");
        assert_eq!(config.roots.value, [PathBuf::from(root)]);
        assert_eq!(config.listen.value.to_string(), listen);
        assert_eq!(config.deletes.value, deletes);
        assert_eq!(config.drain_timeout.value, Duration::from_secs(8));
    }
}

#[test]
fn what_cannot_be_used() {
    for (text, variables, expected) in [
        (
            "",
            &[][..],
            &["`version` must be `0.1`", "`storage` is missing: distribution wants a driver: `filesystem`"][..],
        ),
        (
            "a: b: c",
            &[],
            &["not YAML (line 1): mapping values are not allowed in this context at line 1, column 5"],
        ),
        (
            "- x",
            &[],
            &[
                "`the document` (line 1) must be a mapping, not a list",
                "`version` must be `0.1`",
                "`storage` is missing: distribution wants a driver: `filesystem`",
            ],
        ),
        ("version: 0.2\nstorage: filesystem", &[], &["`version` must be `0.1`, not `0.2`"]),
        (
            LEAST,
            &[("REGISTRY_LOG_LEVEL", "loud")],
            &["`log.level` (`REGISTRY_LOG_LEVEL`) must be `error`, `warn`, `info` or `debug`, not `loud`"],
        ),
        (
            LEAST,
            &[("REGISTRY_HTTP_DRAINTIMEOUT", "60")],
            &[
                "`http.draintimeout` (`REGISTRY_HTTP_DRAINTIMEOUT`) must be a duration such as `10s`, not `60`",
            ],
        ),
        (
            LEAST,
            &[("REGISTRY_HTTP_ADDR", "22625")],
            &["`http.addr` (`REGISTRY_HTTP_ADDR`) must be `HOST:PORT` or `:PORT`, not `22625`"],
        ),
        (LEAST, &[("REGISTRY_HTTP_NET", "unix")], &["`http.net` (`REGISTRY_HTTP_NET`) is not supported"]),
        (LEAST, &[("REGISTRY_HTTP", "[]")], &["`http` (`REGISTRY_HTTP`) must be a mapping, not a list"]),
        (
            LEAST,
            &[("REGISTRY_HTTP_ADDR", "@")],
            &["not YAML (`REGISTRY_HTTP_ADDR`): unexpected character: `@' at line 1, column 1"],
        ),
        (
            LEAST,
            &[("REGISTRY_STORAGE_MAINTENANCE_READONLY", "true")],
            &[
                "`storage.maintenance.readonly` (`REGISTRY_STORAGE_MAINTENANCE_READONLY`) must be a mapping, not `true`",
            ],
        ),
        (
            LEAST,
            &[("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "maybe")],
            &[
                "`storage.maintenance.readonly.enabled` (`REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED`) must be `true` or `false`, not `maybe`",
            ],
        ),
        (
            LEAST,
            &[("REGISTRY_STORAGE_S3_BUCKET", "b")],
            &["`storage.s3` (`REGISTRY_STORAGE_S3_BUCKET`) is not supported"],
        ),
        (
            LEAST,
            &[("REGISTRY_AUTH_TOKEN_REALM", "x")],
            &["`auth.token` (`REGISTRY_AUTH_TOKEN_REALM`) is not supported"],
        ),
        (LEAST, &[("REGISTRY_AUTH", "silly")], &["`auth.silly` (`REGISTRY_AUTH`) is not supported"]),
        (
            LEAST,
            &[("REGISTRY_AUTH_HTPASSWD_REALM", "x")],
            &["`auth.htpasswd.path` is missing: `auth.htpasswd` names the file with users"],
        ),
        (
            LEAST,
            &[("REGISTRY_PROXY_REMOTEURL", "https://x")],
            &["`proxy.remoteurl` (`REGISTRY_PROXY_REMOTEURL`) is not supported"],
        ),
        (
            LEAST,
            &[("REGISTRY_HTTP_TLS_KEY", "k")],
            &["`tls-cert` is missing: a key is of no use without its certificate"],
        ),
        (
            LEAST,
            &[("REGISTRY_HTTP_TLS_LETSENCRYPT_EMAIL", "a@b")],
            &["`http.tls.letsencrypt.email` (`REGISTRY_HTTP_TLS_LETSENCRYPT_EMAIL`) is not supported"],
        ),
        (
            LEAST,
            &[("REGISTRY_HTTP_TLS_CIPHERSUITES", "[TLS_RSA_WITH_AES_128_CBC_SHA]")],
            &["`http.tls.ciphersuites` (`REGISTRY_HTTP_TLS_CIPHERSUITES`) is not supported"],
        ),
        (
            LEAST,
            &[("REGISTRY_HTTP_TLS_CLIENTCAS_0", "/ca")],
            &["`tls-cert` is missing: clients can be asked for certificates only over TLS"],
        ),
        ("version: 0.1\nstorage: {inmemory: }", &[], &["`storage.inmemory` (line 2) is not supported"]),
        (
            "version: 0.1\nstorage: filesystem\nhttp: {prefix: x, host: registry}",
            &[],
            &[
                "`http.host` (line 3) must be a URL such as `https://registry.example`, not `registry`",
                "`http.prefix` (line 3) must be a path that begins and ends with `/`, not `x`",
            ],
        ),
    ] {
        let refused = load(text, variables).map(|it| given_rows(&it.config)).unwrap_err();
        let problems: Vec<_> = refused.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, expected, "{text:?} {variables:?}");
    }
}

#[test]
fn what_is_worth_knowing() {
    for (text, variables, expected) in [
        (
            LEAST,
            &[("REGISTRY_PORT", "tcp://1.2.3.4:5")][..],
            &["unknown environment variable `REGISTRY_PORT` is ignored"][..],
        ),
        (LEAST, &[("REGISTRY_IMAGE", "@x")], &["unknown environment variable `REGISTRY_IMAGE` is ignored"]),
        (LEAST, &[("REGISTRY_HTTP_TLS_LETSENCRYPT", "")], &[]),
        (
            LEAST,
            &[("REGISTRY_LOG_HOOKS", "[{type: mail}]")],
            &["`log.hooks` (`REGISTRY_LOG_HOOKS`) has no effect: log hooks are not supported"],
        ),
        (
            "version: 0.1\nstorage: filesystem\nHTTP: {}\nhttp: {add: x}",
            &[],
            &["unknown key `http.add` (line 4) is ignored", "unknown key `HTTP` (line 3) is ignored"],
        ),
        (
            "version: 0.1\nstorage: filesystem\nhttp: {addr: ':1', addr: ':2'}",
            &[],
            &["`http.addr` stands twice, the one in line 3 counts"],
        ),
        (
            "version: 0.1\nstorage: filesystem\nhttp: {tls: {certificate: c, key: k, ciphersuites: [TLS_RSA_WITH_RC4_128_SHA, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]}}",
            &[],
            &[
                "`http.tls.ciphersuites` (line 3) has no effect: the suites without ECDHE and an AEAD are not offered, the others are",
            ],
        ),
        (
            "version: 0.1\nstorage: filesystem\nmiddleware: {registry: []}\nredis: {addr: x}",
            &[],
            &["`middleware` (line 3) has no effect: middlewares are not supported"],
        ),
    ] {
        let loaded = load(text, variables).unwrap();
        let open = "everybody who reaches the port may push: the configuration file has no `auth` section";
        let expected: Vec<_> = expected.iter().copied().chain([open]).collect();
        assert_eq!(notices(&loaded), expected, "{text:?} {variables:?}");
    }
}

#[test]
fn flags_win_over_the_file() {
    let given = Given { listen: flag("--listen", "127.0.0.1:1".parse().unwrap()), ..Given::default() };
    let file = DistributionFile { text: PACKAGED, variables: &[("REGISTRY_HTTP_ADDR".into(), ":2".into())] };
    let loaded = Config::load(Some(file), given, &surroundings()).unwrap();
    assert_eq!(loaded.config.listen.value.to_string(), "127.0.0.1:1");
    assert_eq!(loaded.config.listen.source, Source::Flag("--listen".into()));
}

#[test]
fn who_may_do_what_by_flags() {
    let path = |name| flag(name, PathBuf::from("/f"));
    let users = |name: &str| flag("--user", BTreeSet::from([name.to_owned()]));
    let administrator = Rights::PULL.union(Right::Administer.into());
    for (given, remote, local, user) in [
        (Given::default(), Rights::PULL, Rights::ALL, None),
        (
            Given { anonymous: flag("--allow-anonymous", Right::Push.into()), ..Given::default() },
            Rights::PULL_AND_PUSH,
            Rights::ALL,
            None,
        ),
        (Given { pull_secret: path("--pull-secret"), ..Given::default() }, Rights::NONE, Rights::NONE, None),
        (
            Given { htpasswd: path("--htpasswd"), ..Given::default() },
            Rights::NONE,
            Rights::NONE,
            Some(Rights::PULL_AND_PUSH),
        ),
        (
            Given {
                htpasswd: path("--htpasswd"),
                push_users: users("other"),
                admin_users: users("u"),
                ..Given::default()
            },
            Rights::NONE,
            Rights::NONE,
            Some(administrator),
        ),
        (
            Given {
                htpasswd: path("--htpasswd"),
                anonymous: flag("--allow-anonymous", Rights::PULL),
                ..Given::default()
            },
            Rights::PULL,
            Rights::PULL,
            Some(Rights::PULL_AND_PUSH),
        ),
    ] {
        let policy = flags(given.clone()).unwrap().config.auth.policy();
        assert_eq!(policy.anonymous(Origin::Address([192, 0, 2, 1].into())).rights(), remote, "{given:?}");
        assert_eq!(policy.anonymous(Origin::Address([127, 0, 0, 1].into())).rights(), local, "{given:?}");
        assert_eq!(
            policy.wants_credentials().then(|| policy.htpasswd_user("u").rights()).filter(|_| user.is_some()),
            user
        );
    }
}

#[test]
fn users_without_a_file_are_refused() {
    let given =
        Given { push_users: flag("--push-user", BTreeSet::from(["u".to_owned()])), ..Given::default() };
    let problems = flags(given).unwrap_err().problems;
    assert!(matches!(problems.as_slice(), [Problem::Missing { key: "htpasswd", .. }]), "{problems:?}");
}
