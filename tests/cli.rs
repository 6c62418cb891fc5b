//! The program as its users meet it: exit codes, messages, signals, and what it answers to `distribution
//! serve`.
//!
//! Every server that is started here listens on a free port of the loopback address and is ended by its pid.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::too_many_lines)]

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStderr;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_larder");

/// The least that distribution takes, for a root and an address that are given by variables.
const LEAST: &str = "version: 0.1\nstorage: filesystem\n";

/// The longest that anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The program, by the name it is to be called by, in an environment that holds nothing.
fn program(path: impl AsRef<Path>) -> Command {
    let mut command = Command::new(path.as_ref());
    command.env_clear().env("HOME", "/nonexistent").env("XDG_DATA_HOME", "/nonexistent").stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn larder(arguments: &[&str]) -> Ended {
    run(program(PROGRAM).args(arguments))
}

/// A server that runs.
struct Running {
    child: Child,
    address: SocketAddr,
    log: BufReader<ChildStderr>,
}

impl Running {
    /// Starts `serve` and waits until it says where it listens.
    #[expect(clippy::zombie_processes, reason = "it is waited for when it is dropped, or ended by itself")]
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended: {said}");
            said += &line;
            if let Some((_, rest)) = line.split_once("address=\"") {
                let address = rest.split('"').next().unwrap().parse().unwrap();
                return Self { child, address, log };
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as an init system does.
    fn stop(mut self) -> Ended {
        self.signal(Signal::TERM);
        let mut stderr = String::new();
        self.log.read_to_string(&mut stderr).unwrap();
        Ended { code: self.child.wait().unwrap().code(), stdout: String::new(), stderr }
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> String {
        ask(self.address, method, path, headers)
    }

    /// Asks until the answer begins with `start`.
    fn ask_until(&self, path: &str, headers: &str, start: &str) {
        let began = Instant::now();
        loop {
            let answer = self.ask("GET", path, headers);
            if answer.starts_with(start) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "still {answer}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request over a connection of its own.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// A place for a test's files.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).unwrap();
        self.text(name)
    }

    /// `serve` over a root here, on a free port, with an administration socket here.
    fn serve(&self, arguments: &[&str]) -> Command {
        let mut command = program(PROGRAM);
        command.args(["serve", "--listen", "127.0.0.1:0", "--root", &self.text("root")]);
        command.args(["--admin-socket", &self.text("admin.sock")]).args(arguments);
        command
    }
}

fn htpasswd(user: &str, password: &str) -> String {
    format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap())
}

#[test]
fn usage_is_two_and_help_is_fine() {
    for (arguments, code) in [
        (&[][..], 2),
        (&["frobnicate"], 2),
        (&["serve", "--frobnicate"], 2),
        (&["serve", "--listen", "22625"], 2),
        (&["serve", "--log-level", "loud"], 2),
        (&["man", "frobnicate"], 2),
        (&["--help"], 0),
        (&["serve", "--help"], 0),
        (&["--version"], 0),
    ] {
        let ended = larder(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stdout.is_empty(), code != 0, "{arguments:?}: {ended:?}");
    }
    for flag in ["--version", "-v", "-V"] {
        assert_eq!(larder(&[flag]).stdout, format!("larder {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn completions_and_manuals() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = larder(&["completions", shell]);
        assert_eq!(ended.code, Some(0));
        assert!(ended.stdout.contains("read-only"), "{shell}");
    }
    let page = larder(&["man", "serve"]).stdout;
    assert!(page.contains(".TH larder-serve") && page.contains("127.0.0.1:22625"), "{page}");
    assert!(larder(&["man"]).stdout.contains("Exit codes"));
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let mut child = program(PROGRAM).args(["completions", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// What `config show` says of the unit with which a cluster's node starts distribution.
#[test]
fn config_show_for_a_clusters_node() {
    let place = Place::new();
    let config = place.write(
        "config.yaml",
        "\
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
",
    );
    let mut command = program(PROGRAM);
    command.envs([
        ("REGISTRY_HTTP_ADDR", "0.0.0.0:22625"),
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "/certs/tls.crt"),
        ("REGISTRY_HTTP_TLS_KEY", "/certs/tls.key"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY", r#"{"enabled":true}"#),
        ("LARDER_ADMIN_SOCKET", "none"),
    ]);
    let shown = run(command.args(["config", "show", &config, "--log-level", "debug"]));
    let expected = "\
SETTING              VALUE                            FROM
root                 /var/lib/registry                line 9
access               read-only                        REGISTRY_STORAGE_MAINTENANCE_READONLY
listen               [::]:22625                       REGISTRY_HTTP_ADDR
tls-cert             /certs/tls.crt                   REGISTRY_HTTP_TLS_CERTIFICATE
tls-key              /certs/tls.key                   REGISTRY_HTTP_TLS_KEY
tls-minimum          tls1.2                           default
htpasswd             -                                default
pull-secret          -                                default
host-name            -                                default
allow-anonymous      -                                default
realm                larder                           default
credentials-overlap  0s                               default
http2                offered                          default
prefix               /                                default
external-url         -                                default
headers              X-Content-Type-Options: nosniff  line 13
secret               -                                default
drain-timeout        8s                               default
catalog-limit        1000                             default
deletes              refused                          default
upload-purge         after 168h, every 24h            default
metrics-listen       -                                default
metrics-path         /metrics                         default
admin-socket         -                                LARDER_ADMIN_SOCKET
log-level            debug                            --log-level
log-format           text                             default
access-log           on                               default
";
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), expected), "{}", shown.stderr);

    let json = run(command.args(["--output", "json"])).stdout;
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        rows[0],
        serde_json::json!({"setting": "root", "value": "/var/lib/registry", "from": {"file": {"line": 9}}})
    );
    assert_eq!(rows[2]["from"], serde_json::json!({"environment": "REGISTRY_HTTP_ADDR"}));
}

#[test]
fn how_long_a_changed_password_counts() {
    let shown = larder(&["config", "show", "--credentials-overlap", "30m"]);
    assert!(shown.stdout.contains("credentials-overlap  30m "), "{shown:?}");
    assert!(shown.stdout.contains(" --credentials-overlap\n"), "{shown:?}");
    let refused = larder(&["config", "show", "--credentials-overlap", "169h"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("`168h` at most"), "{refused:?}");
}

#[test]
fn config_check_finds_what_is_wrong() {
    let place = Place::new();
    let good = place.write("good.yaml", LEAST);
    let ended = larder(&["config", "check", &good]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.ends_with("the configuration is right\n"), "{ended:?}");

    let bad = place.write("bad.yaml", "version: 0.1\nstorage: {s3: {}}\nlog: {level: loud}\nfrob: 1\n");
    let ended = larder(&["config", "check", &bad]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(
        ended.stdout,
        "\
problem: `log.level` (line 3) must be `error`, `warn`, `info` or `debug`, not `loud`
problem: `storage.s3` (line 2) is not supported
   hint: use `storage.filesystem`: content lies in a directory
notice: unknown key `frob` (line 4) is ignored
"
    );

    let file = place.write("htpasswd", "nonsense");
    for (arguments, problem) in [
        (["--htpasswd", "/nonexistent"], "problem: cannot read htpasswd `/nonexistent`"),
        (["--htpasswd", &file], "line 1: expected `user:hash`"),
        (["--pull-secret", &file], "is not a pull secret"),
    ] {
        let ended = larder(&[&["config", "check"], &arguments[..]].concat());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stdout.contains(problem), "{ended:?}");
    }
}

#[test]
fn what_keeps_a_server_from_starting_is_told() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = taken.local_addr().unwrap().port();
    let file = place.write("file", "no image");
    let root = place.text("root");
    let config = place.write("bad.yaml", "version: 0.1\nstorage: filesystem\nauth: {token: {}}\n");
    for (arguments, said) in [
        (
            &["--listen", &address, "--root", &root][..],
            &[
                &*format!("error: cannot listen on {address}\n"),
                "caused by: ",
                "in use",
                &format!("hint: see who has it with `ss -tlnp 'sport = :{port}'`"),
            ][..],
        ),
        (&["--listen", "127.0.0.1:0", "--root", &format!("{file}/below")], &["error: ", "caused by: "]),
        (
            &[
                "--listen",
                "127.0.0.1:0",
                "--root",
                &root,
                "--tls-cert",
                "/nonexistent",
                "--tls-key",
                "/nonexistent",
            ],
            &["error: cannot read certificate `/nonexistent`", "caused by: No such file", "hint: "],
        ),
        (
            &["--listen", "127.0.0.1:0", "--root", &root, "--tls-cert", "x"],
            &["error: the configuration cannot be used\ncaused by: `tls-key` is missing"],
        ),
        (
            &["--listen", "127.0.0.1:0", "--root", &root, "--admin-socket", "/nonexistent/deep/x.sock"],
            &["error: ", "/nonexistent"],
        ),
        (
            &["/nonexistent/config.yaml"],
            &["error: cannot read the configuration file `/nonexistent/config.yaml`\n"],
        ),
        (
            &[&config],
            &[
                "error: the configuration cannot be used\ncaused by: `auth.token` (line 3) is not supported\nhint: ",
            ],
        ),
    ] {
        let ended = run(program(PROGRAM).arg("serve").args(arguments));
        assert_eq!(ended.code, Some(3), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stdout, "");
        for words in said {
            assert!(ended.stderr.contains(words), "{words:?} is not in {ended:?}");
        }
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    }
}

#[test]
fn two_writers_on_one_root() {
    let place = Place::new();
    let first = Running::start(&mut place.serve(&[]));
    let second = run(place.serve(&[]).args(["--admin-socket", "none"]));
    assert_eq!(second.code, Some(2), "a flag that is given twice is wrong usage: {second:?}");
    let mut command = program(PROGRAM);
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--root",
        &place.text("root"),
        "--admin-socket",
        "none",
    ]);
    let second = run(&mut command);
    assert_eq!(second.code, Some(3), "{second:?}");
    assert!(second.stderr.contains("is being written by another process"), "{second:?}");
    assert!(second.stderr.contains("hint: stop the other server"), "{second:?}");
    let reader = Running::start(command.arg("--read-only"));
    assert!(reader.ask("GET", "/v2/", "").starts_with("HTTP/1.1 200"));
    assert_eq!(first.stop().code, Some(0));
}

#[test]
fn sigterm_closes_the_port_at_once_and_is_fine() {
    let place = Place::new();
    let running = Running::start(&mut place.serve(&[]));
    assert!(running.ask("GET", "/", "").starts_with("HTTP/1.1 200"));
    assert!(place.path("admin.sock").exists());
    let address = running.address;
    let idle = TcpStream::connect(address).unwrap();
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("shutting down"), "{ended:?}");
    assert!(TcpStream::connect(address).is_err());
    assert!(!place.path("admin.sock").exists());
    drop(idle);
}

#[test]
fn every_address_is_ipv4_and_ipv6() {
    let place = Place::new();
    let config = place.write("config.yaml", LEAST);
    let mut command = program(PROGRAM);
    command.args(["serve", &config, "--admin-socket", "none"]);
    command
        .env("REGISTRY_HTTP_ADDR", "0.0.0.0:0")
        .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", place.text("root"));
    let running = Running::start(&mut command);
    let port = running.address.port();
    assert!(ask(([127, 0, 0, 1], port).into(), "GET", "/v2", "").starts_with("HTTP/1.1 200"));
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        assert!(ask((Ipv6Addr::LOCALHOST, port).into(), "GET", "/v2/", "").starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn it_takes_the_place_of_distribution() {
    let place = Place::new();
    let link = place.path("distribution");
    std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
    let config = place.write("config.yaml", LEAST);
    let htpasswd = place.write("htpasswd", &htpasswd("openshift", "secret"));

    let without = run(program(&link).arg("serve"));
    assert_eq!(without.code, Some(2), "{without:?}");
    assert!(without.stderr.contains("REGISTRY_CONFIGURATION_PATH"), "{without:?}");

    for read_only in
        ["REGISTRY_STORAGE_MAINTENANCE_READONLY", "REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED"]
    {
        fs::create_dir_all(place.path("root")).unwrap();
        let mut command = program(&link);
        command.arg("serve").env("REGISTRY_CONFIGURATION_PATH", &config).envs([
            ("REGISTRY_HTTP_ADDR", "127.0.0.1:0"),
            ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", &*place.text("root")),
            ("REGISTRY_AUTH_HTPASSWD_REALM", "iri-registry"),
            ("REGISTRY_AUTH_HTPASSWD_PATH", &htpasswd),
            (read_only, if read_only.ends_with("ENABLED") { "true" } else { r#"{"enabled":true}"# }),
            ("LARDER_ADMIN_SOCKET", "none"),
            ("REGISTRY_PORT", "tcp://10.0.0.1:5000"),
        ]);
        let running = Running::start(&mut command);
        let challenge = running.ask("GET", "/v2/", "").to_lowercase();
        assert!(challenge.starts_with("http/1.1 401"), "{challenge}");
        assert!(challenge.contains("www-authenticate: basic realm=\"iri-registry\"\r\n"), "{challenge}");
        // base64 of `openshift:secret`
        let credential = "Authorization: Basic b3BlbnNoaWZ0OnNlY3JldA==\r\n";
        assert!(running.ask("GET", "/v2/", credential).starts_with("HTTP/1.1 200"));
        let push = running.ask("POST", "/v2/a/blobs/uploads/", credential);
        assert!(push.starts_with("HTTP/1.1 405"), "{push}");
        assert_eq!(fs::read_dir(place.path("root")).unwrap().count(), 0, "not one write");
        assert_eq!(running.stop().code, Some(0));
    }
}

#[test]
fn files_are_read_again_on_sighup() {
    let place = Place::new();
    let file = place.write("htpasswd", &htpasswd("u", "old"));
    let running = Running::start(&mut place.serve(&["--htpasswd", &file]));
    // base64 of `u:old` and `u:new`
    let [old, new] = ["dTpvbGQ=", "dTpuZXc="].map(|it| format!("Authorization: Basic {it}\r\n"));
    assert!(running.ask("GET", "/v2/", &old).starts_with("HTTP/1.1 200"));
    assert!(running.ask("GET", "/v2/", &new).starts_with("HTTP/1.1 401"));

    place.write("htpasswd", "this is no htpasswd file");
    running.signal(Signal::HUP);
    running.ask_until("/v2/", &old, "HTTP/1.1 200");

    place.write("htpasswd", &htpasswd("u", "new"));
    running.signal(Signal::HUP);
    running.ask_until("/v2/", &new, "HTTP/1.1 200");
    running.ask_until("/v2/", &old, "HTTP/1.1 401");
    let log = running.stop().stderr;
    assert!(!log.contains("$2b$"), "hashes are not logged: {log}");
}

#[test]
fn a_pull_secret_gives_pull() {
    let place = Place::new();
    // base64 of `openshift:secret`
    let auth = "b3BlbnNoaWZ0OnNlY3JldA==";
    let file = place.write(
        "config.json",
        &format!(r#"{{"auths":{{"localhost:22625":{{"auth":"{auth}"}},"quay.io":{{"auth":"eDp5"}}}}}}"#),
    );
    let running = Running::start(&mut place.serve(&["--pull-secret", &file]));
    let credential = format!("Authorization: Basic {auth}\r\n");
    for (method, path, headers, status) in [
        ("GET", "/v2/", &*credential, 200),
        ("GET", "/v2/_catalog", &credential, 200),
        ("POST", "/v2/a/blobs/uploads/", &credential, 403),
        ("GET", "/v2/", "", 401),
        ("GET", "/v2/", "Authorization: Basic Og==\r\n", 401),
        ("GET", "/v2/", "Authorization: Basic eDp5\r\n", 401),
    ] {
        let answer = running.ask(method, path, headers);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path} {headers}: {answer}");
    }
}

#[test]
fn log_lines_for_programs() {
    let place = Place::new();
    let mut command = place.serve(&["--log-format", "json"]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let first: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&first["message"], &first["level"]), (&"serving".into(), &"INFO".into()), "{line}");
    let address: SocketAddr = first["address"].as_str().unwrap().parse().unwrap();
    let running = Running { child, address, log };
    running.ask("GET", "/v2/?x=%22quoted%22", "");
    let lines = running.stop().stderr;
    let access: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(access["target"], "larder::access");
    assert_eq!((&access["method"], &access["status"]), (&"GET".into(), &200.into()), "{lines}");
    assert_eq!(access["path"], "/v2/?x=%22quoted%22");
}

#[test]
fn status_asks_the_server_on_this_host() {
    let place = Place::new();
    let file = place.write("htpasswd", &htpasswd("u", "p"));
    let running = Running::start(&mut place.serve(&["--htpasswd", &file]));
    let socket = place.text("admin.sock");
    let ended = larder(&["status", "--admin-socket", &socket]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in [
        format!("version      {}", env!("CARGO_PKG_VERSION")),
        format!("root         {}", place.text("root")),
        "writable     yes".into(),
        format!("htpasswd     {file}"),
    ] {
        assert!(ended.stdout.lines().any(|it| it == line), "{line:?} is not in {ended:?}");
    }
    let ended = larder(&["status", "--admin-socket", &socket, "--output", "json"]);
    let status: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(status["writable"]["ok"], true, "{status}");
    // Nobody else is told.
    assert!(running.ask("GET", "/v2/_larder/status", "").starts_with("HTTP/1.1 401"));
    assert_eq!(running.stop().code, Some(0));

    let ended = larder(&["status", "--admin-socket", &socket]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        ended.stderr.starts_with(&format!("error: no server answers at `{socket}`\ncaused by: ")),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("hint: "), "{ended:?}");
}

#[test]
fn metrics_and_health_on_a_port_of_their_own() {
    let place = Place::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let running = Running::start(&mut place.serve(&["--metrics-listen", &free.to_string()]));
    running.ask("GET", "/v2/", "");
    running.ask_until("/readyz?write", "", "HTTP/1.1 200");
    let metrics = ask(free, "GET", "/metrics", "");
    assert!(
        metrics.contains("larder_http_requests_total{operation=\"Base\",method=\"GET\",status=\"200\"} 1"),
        "{metrics}"
    );
    assert!(ask(free, "GET", "/healthz", "").starts_with("HTTP/1.1 200"));
    assert!(running.ask("GET", "/metrics", "").starts_with("HTTP/1.1 404"));
}

#[test]
fn a_root_comes_and_goes() {
    let place = Place::new();
    let file = place.write("htpasswd", &htpasswd("u", "p"));
    let running = Running::start(&mut place.serve(&["--htpasswd", &file, "--allow-anonymous", "pull"]));
    let socket = place.text("admin.sock");
    let image = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/fixtures/payload.iso");
    let root =
        |verb: &str, rest: &[&str]| larder(&[&["root", verb, "--admin-socket", &socket], rest].concat());
    assert_eq!(root("list", &[]).stdout, "ROOT  HOLDS\n");

    let ended = root("attach", &[image]);
    let release = "ocp-release-bundle-";
    assert!(ended.code == Some(0) && ended.stdout.contains(&format!("{image}  {release}")), "{ended:?}");
    assert!(running.ask("GET", "/v2/_catalog", "").contains("openshift/release-images"));
    let status = larder(&["status", "--admin-socket", &socket]);
    assert!(status.stdout.contains(&format!("attached     {image}: {release}")), "{status:?}");
    // Nobody else may.
    assert!(
        running.ask("DELETE", &format!("/v2/_larder/roots?path={image}"), "").starts_with("HTTP/1.1 401")
    );

    assert_eq!(root("detach", &[image]).code, Some(0));
    assert!(!running.ask("GET", "/v2/_catalog", "").contains("openshift/release-images"));
    for (verb, path, message) in [
        ("detach", image, "is not attached"),
        ("detach", &*place.text("root"), "is not attached"),
        ("attach", "/nowhere", "cannot attach it: cannot open /nowhere"),
        ("attach", "/dev/null", "cannot attach it: "),
    ] {
        let ended = root(verb, &[path]);
        assert!(ended.code == Some(3) && ended.stderr.contains(message), "{verb} {path}: {ended:?}");
    }
    running.ask_until("/readyz?write", "", "HTTP/1.1 200");
}

#[test]
fn uninstall_stops_the_server_and_deletes_its_content() {
    let place = Place::new();
    let payload = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/fixtures/payload.iso");
    let root = place.text("root");
    assert_eq!(larder(&["copy", payload, &root]).code, Some(0));
    fs::write(place.path("root").join("notes"), "").unwrap();
    let listed = larder(&["release", "list", "--root", &root, "--output", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let release = listed[0]["version"].as_str().unwrap();
    let mut server = Running::start(&mut place.serve(&[]));

    let ended = larder(&["uninstall", "--root", &root]);
    assert!(ended.code == Some(2) && ended.stdout.contains(release), "{ended:?}");
    let ended = larder(&["uninstall", "--root", &root, "--yes", "--in-use", release]);
    assert!(ended.code == Some(3) && ended.stderr.contains("is in use"), "{ended:?}");
    assert!(server.ask("GET", "/v2/", "").starts_with("HTTP/1.1 200"), "nothing happened yet");

    let ended = larder(&["uninstall", "--root", &root, "--yes", "--in-use", release, "--force"]);
    assert!(ended.code == Some(0) && ended.stdout.contains("deleted all content"), "{ended:?}");
    assert_eq!(server.child.wait().unwrap().code(), Some(0), "it was ended as an init system does");
    assert!(TcpStream::connect(server.address).is_err(), "the port is free");
    let left: Vec<_> = fs::read_dir(&root).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["notes"]);
}
