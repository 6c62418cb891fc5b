//! A network of this machine's own: namespaces on one bridge, each behind a link of limited speed.
//!
//! Knows `ip` and `tc`. Every name holds the harness's process id; what a harness left that was killed, the
//! next one takes away, by that id. Does not know what runs inside.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

/// What all names begin with: short, since an interface's name has at most 15 bytes.
const PREFIX: &str = "lc";

/// The most bytes that pass at once: what a token bucket needs for 100 MB/s at the kernel's tick.
const BURST: &str = "512kb";

/// How long a packet may wait for its turn.
const LATENCY: &str = "50ms";

/// Namespaces on a bridge, gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Network {
    id: u32,
    bridge: String,
    hosts: Vec<Host>,
}

/// A namespace with an address.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Its address, which this machine reaches too.
    pub(crate) address: Ipv4Addr,
    namespace: String,
    link: String,
}

impl Network {
    /// A network of `count` hosts, each with a link of so many bytes a second in both directions.
    pub(crate) fn new(count: u8, bytes_per_second: u64) -> Result<Self> {
        ensure!(
            rustix::process::getuid().is_root(),
            "only root can make network namespaces: run this step as root"
        );
        forget_the_dead()?;
        let id = std::process::id();
        let mut network = Self { id, bridge: format!("{PREFIX}{id}b"), hosts: Vec::new() };
        ip(&["link", "add", &network.bridge, "type", "bridge"])?;
        let gateway = format!("{}/24", network.address(254));
        ip(&["addr", "add", &gateway, "dev", &network.bridge])?;
        ip(&["link", "set", &network.bridge, "up"])?;
        for number in 1..=count {
            network.add(number, bytes_per_second)?;
        }
        Ok(network)
    }

    /// A host, counted from zero.
    pub(crate) fn host(&self, number: usize) -> Result<&Host> {
        self.hosts.get(number).context("no such host")
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        // A range that documents and ordinary networks leave alone (RFC 2544).
        Ipv4Addr::new(198, 18, u8::try_from(self.id % 256).unwrap_or_default(), last)
    }

    fn add(&mut self, number: u8, bytes_per_second: u64) -> Result<()> {
        let namespace = format!("{PREFIX}{}n{number}", self.id);
        let link = format!("{PREFIX}{}l{number}", self.id);
        let host = Host { address: self.address(number), namespace, link };
        ip(&["netns", "add", &host.namespace])?;
        // From here on dropping takes it away again.
        self.hosts.push(host.clone());
        ip(&["link", "add", &host.link, "type", "veth", "peer", "name", "eth0", "netns", &host.namespace])?;
        ip(&["link", "set", &host.link, "master", &self.bridge, "up"])?;
        let address = format!("{}/24", host.address);
        ip(&["-n", &host.namespace, "addr", "add", &address, "dev", "eth0"])?;
        ip(&["-n", &host.namespace, "link", "set", "lo", "up"])?;
        ip(&["-n", &host.namespace, "link", "set", "eth0", "up"])?;
        let rate = format!("{}bit", bytes_per_second * 8);
        let limit = ["root", "tbf", "rate", &rate, "burst", BURST, "latency", LATENCY];
        run("tc", &[&["qdisc", "add", "dev", &host.link][..], &limit].concat())?;
        run("tc", &[&["-n", &host.namespace, "qdisc", "add", "dev", "eth0"][..], &limit].concat())
    }
}

impl Host {
    /// The command, inside.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Pulls the plug.
    pub(crate) fn cut(&self) -> Result<()> {
        ip(&["link", "set", &self.link, "down"])
    }

    /// Puts it back.
    pub(crate) fn mend(&self) -> Result<()> {
        ip(&["link", "set", &self.link, "up"])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &self.hosts {
            drop(ip(&["link", "delete", &host.link]));
            drop(ip(&["netns", "delete", &host.namespace]));
        }
        drop(ip(&["link", "delete", &self.bridge]));
    }
}

/// Takes away what a harness left that is no more.
fn forget_the_dead() -> Result<()> {
    let namespaces = output("ip", &["netns", "list"])?;
    for name in namespaces.lines().filter_map(|line| line.split_whitespace().next()) {
        if is_of_the_dead(name) {
            ip(&["netns", "delete", name])?;
        }
    }
    let bridges = output("ip", &["-o", "link", "show", "type", "bridge"])?;
    for name in bridges.lines().filter_map(|line| line.split(": ").nth(1)) {
        if is_of_the_dead(name) {
            ip(&["link", "delete", name])?;
        }
    }
    Ok(())
}

fn is_of_the_dead(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let suffix = rest.get(digits.len()..).unwrap_or_default();
    let is_ours = !digits.is_empty() && (suffix == "b" || suffix.starts_with('n'));
    is_ours && !Path::new(&format!("/proc/{digits}")).exists()
}

fn ip(arguments: &[&str]) -> Result<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    output(program, arguments).map(drop)
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("running `{program}`"))?;
    if !output.status.success() {
        bail!("`{program} {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_harness_left_is_taken_away() {
        let own = std::process::id();
        for (name, expected) in [
            (format!("{PREFIX}{own}n1"), false),
            (format!("{PREFIX}4194305n1"), true),
            (format!("{PREFIX}4194305b"), true),
            (format!("{PREFIX}b"), false),
            ("lcd0".to_owned(), false),
            ("eth0".to_owned(), false),
        ] {
            assert_eq!(is_of_the_dead(&name), expected, "{name}");
        }
    }
}
