//! `Guest`: a virtual machine that runs.
//!
//! Knows qemu's command line, its monitor, and the shell that the guest offers on a port of its own. Does not
//! know what is installed in it, or what is asked of it.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::net::RecvFlags;
use rustix::net::recv;
use serde_json::json;

use crate::machine::disk::Disk;
use crate::machine::qmp;
use crate::machine::qmp::Qmp;
use crate::process::Running;
use crate::server::free_address;

/// How long the guest may take to answer a command of the shell.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// How long the guest may take to boot to its shell: ten times what two idle cores need.
const BOOT_LIMIT: Duration = Duration::from_secs(240);

/// What a machine is made of.
#[derive(Clone, Debug)]
pub(crate) struct Hardware {
    /// The kernel.
    pub(crate) kernel: PathBuf,
    /// What it starts with.
    pub(crate) initrd: PathBuf,
    /// The image of the root file system.
    pub(crate) root: PathBuf,
    /// Where sockets and the console's log go.
    pub(crate) directory: PathBuf,
}

/// A machine that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    running: Running,
    qmp: Qmp,
    shell: BufReader<UnixStream>,
    /// How many scripts were sent: answers to those that nobody waits for any more are passed over.
    asked: u64,
    /// The port of Larder in the guest, as the host sees it.
    pub(crate) registry: SocketAddr,
    /// A second port in the guest (5000), as the host sees it.
    pub(crate) second: SocketAddr,
}

impl Hardware {
    /// Boots it with this disk as `/dev/vdb`, and waits for its shell.
    pub(crate) fn boot(&self, name: &str, disk: &Disk) -> Result<Guest> {
        let drive = format!("file={},if=virtio,format=raw,cache=unsafe", self.root.display());
        let mut guest = self.start(name, &["-drive", &drive], &|qmp| {
            plug_disk(qmp, disk)?;
            qmp.execute("cont", &json!({}))?;
            Ok(())
        })?;
        let deadline = Instant::now() + BOOT_LIMIT;
        while guest.try_shell("true", Duration::from_secs(2)).is_err() {
            ensure!(guest.running.ended()?.is_none(), "qemu ended: {}", guest.running.said());
            ensure!(Instant::now() < deadline, "no shell within {BOOT_LIMIT:?}; see {name}.console");
        }
        Ok(guest)
    }

    /// Lets a machine go on from where [`Guest::freeze`] stopped it; what it writes to its root is forgotten.
    pub(crate) fn resume(&self, name: &str, memory: &Path) -> Result<Guest> {
        let drive = format!("file={},if=virtio,format=raw,snapshot=on,cache=unsafe", self.root.display());
        let incoming = format!("exec:cat {}", memory.display());
        self.start(name, &["-drive", &drive, "-incoming", &incoming], &|qmp| {
            let deadline = Instant::now() + BOOT_LIMIT;
            while qmp.execute("query-status", &json!({}))?.get("status") == Some(&json!("inmigrate")) {
                ensure!(Instant::now() < deadline, "the machine's memory was not read back");
                std::thread::sleep(Duration::from_millis(20));
            }
            qmp.execute("cont", &json!({}))?;
            Ok(())
        })
    }

    fn start(&self, name: &str, more: &[&str], begin: &dyn Fn(&mut Qmp) -> Result<()>) -> Result<Guest> {
        let at = |suffix: &str| self.directory.join(format!("{name}.{suffix}"));
        let (registry, second) = (free_address()?, free_address()?);
        for suffix in ["qmp", "shell"] {
            let _absent = fs::remove_file(at(suffix));
        }
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "768"]);
        qemu.args(["-nodefaults", "-display", "none", "-no-reboot", "-S"]);
        qemu.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initrd);
        qemu.args(["-append", KERNEL_COMMAND_LINE]);
        qemu.arg("-serial").arg(format!("file:{}", at("console").display()));
        qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", at("qmp").display()));
        qemu.args([
            "-device",
            "virtio-rng-pci",
            "-device",
            "virtio-scsi-pci,id=scsi",
            "-device",
            "virtio-serial-pci",
        ]);
        qemu.arg("-chardev")
            .arg(format!("socket,id=shell,path={},server=on,wait=off", at("shell").display()));
        qemu.args(["-device", "virtserialport,chardev=shell,name=harness"]);
        let forward = |host: SocketAddr, port| format!("hostfwd=tcp:{host}-10.0.2.15:{port}");
        let network = ["user,id=net,restrict=on".into(), forward(registry, 22625), forward(second, 5000)];
        qemu.args(["-netdev", &network.join(","), "-device", "virtio-net-pci,netdev=net"]);
        qemu.args(more);
        let running = Running::start(&qemu, &at("qemu"), &at("qemu"))?;
        let mut qmp = Qmp::connect(&at("qmp")).with_context(|| running.said())?;
        begin(&mut qmp).with_context(|| running.said())?;
        let shell = BufReader::new(qmp::connect(&at("shell"))?);
        Ok(Guest { running, qmp, shell, asked: 0, registry, second })
    }
}

/// No predictable names, since the network's one is known; nothing that only protects a guest from its
/// neighbours. And no idling without ticks: in software emulation a wake-up is lost now and then, and where no
/// tick makes up for it all of the machine sleeps for as long as its clock (HPET) can, 19 seconds.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 root=/dev/vda rw quiet loglevel=4 systemd.show_status=0 \
    mitigations=off random.trust_cpu=on net.ifnames=0 rcupdate.rcu_expedited=1 nohz=off";

impl Guest {
    /// Runs a script with the guest's `bash`; gives its standard output and error, in order.
    ///
    /// # Errors
    /// It failed; the error quotes what it said.
    pub(crate) fn shell(&mut self, script: &str) -> Result<String> {
        let (code, said) = self.ask(script)?;
        ensure!(code == 0, "in the guest, `{script}` ended with {code}:\n{said}");
        Ok(said)
    }

    /// Begins a script and does not wait for it: nothing else may be asked until [`Guest::finish`].
    pub(crate) fn begin(&mut self, script: &str) -> Result<()> {
        self.asked += 1;
        let line = format!("{} {}", self.asked, STANDARD.encode(script));
        writeln!(self.shell.get_mut(), "{line}").with_context(|| format!("in the guest: `{script}`"))
    }

    /// Whether the script that was begun has ended.
    pub(crate) fn has_finished(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        !self.shell.buffer().is_empty() || recv(self.shell.get_ref(), &mut [0; 1], flags).is_ok()
    }

    /// Waits for the script that was begun; gives its exit code and what it said.
    pub(crate) fn finish(&mut self) -> Result<(i32, String)> {
        self.shell.get_mut().set_read_timeout(Some(COMMAND_LIMIT))?;
        self.answer()
    }

    /// The same, with its exit code.
    pub(crate) fn ask(&mut self, script: &str) -> Result<(i32, String)> {
        self.try_shell(script, COMMAND_LIMIT).with_context(|| format!("in the guest: `{script}`"))
    }

    /// Runs a script again and again until it succeeds; gives what it said then.
    ///
    /// # Errors
    /// It still fails after `limit`; the error quotes what it said last.
    pub(crate) fn until(&mut self, limit: Duration, script: &str) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let (code, said) = self.ask(script)?;
            if code == 0 {
                return Ok(said);
            }
            ensure!(
                Instant::now() < deadline,
                "in the guest, after {limit:?}, `{script}` still ends with {code}:\n{said}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn try_shell(&mut self, script: &str, limit: Duration) -> Result<(i32, String)> {
        self.begin(script)?;
        self.shell.get_mut().set_read_timeout(Some(limit))?;
        self.answer()
    }

    fn answer(&mut self) -> Result<(i32, String)> {
        let number = format!("{} ", self.asked);
        loop {
            let mut line = String::new();
            ensure!(self.shell.read_line(&mut line)? > 0, "the machine is gone");
            let Some(answer) = line.strip_prefix(&number) else { continue };
            let (code, said) = answer.split_once(' ').with_context(|| format!("it says {line:?}"))?;
            let said = String::from_utf8_lossy(&STANDARD.decode(said.trim_end())?).into_owned();
            return Ok((code.parse().with_context(|| format!("it says {line:?}"))?, said));
        }
    }

    /// Attaches a disk, which the guest finds as `/dev/vdb`.
    pub(crate) fn plug_disk(&mut self, disk: &Disk) -> Result<()> {
        plug_disk(&mut self.qmp, disk)
    }

    /// Takes the disk away again.
    pub(crate) fn unplug_disk(&mut self) -> Result<()> {
        self.qmp.execute("device_del", &json!({"id": "disk"}))?;
        self.qmp.wait_for("DEVICE_DELETED")?;
        self.qmp.execute("blockdev-del", &json!({"node-name": "disk"}))?;
        Ok(())
    }

    /// Attaches a drive with this disc, read at so many bytes a second (0: as fast as it can).
    pub(crate) fn plug_disc(&mut self, image: &Path, rate: u64) -> Result<()> {
        let limits = json!({"qom-type": "throttle-group", "id": "slow", "limits": {"bps-total": rate}});
        self.qmp.execute("object-add", &limits)?;
        let file = json!({"driver": "file", "filename": image});
        let raw = json!({"driver": "raw", "read-only": true, "file": file});
        let node = json!({"driver": "throttle", "node-name": "disc", "throttle-group": "slow", "read-only": true, "file": raw});
        self.qmp.execute("blockdev-add", &node)?;
        self.qmp.execute(
            "device_add",
            &json!({"driver": "scsi-cd", "id": "cd", "bus": "scsi.0", "drive": "disc"}),
        )?;
        Ok(())
    }

    /// Pulls the drive out, whatever is being read from it.
    pub(crate) fn pull_disc(&mut self) -> Result<()> {
        self.qmp.execute("device_del", &json!({"id": "cd"}))?;
        self.qmp.wait_for("DEVICE_DELETED")?;
        self.qmp.execute("blockdev-del", &json!({"node-name": "disc"}))?;
        self.qmp.execute("object-del", &json!({"id": "slow"}))?;
        Ok(())
    }

    /// Presses the button of the drive: the guest is asked to eject the disc.
    pub(crate) fn open_tray(&mut self) -> Result<()> {
        self.qmp.execute("blockdev-open-tray", &json!({"id": "cd"})).map(drop)
    }

    /// Closes it again, with the disc in it.
    pub(crate) fn close_tray(&mut self) -> Result<()> {
        self.qmp.execute("blockdev-close-tray", &json!({"id": "cd"})).map(drop)
    }

    /// Stops it, and leaves its memory in a file.
    pub(crate) fn freeze(mut self, memory: &Path) -> Result<()> {
        self.qmp.execute("stop", &json!({}))?;
        self.qmp.execute("migrate", &json!({"uri": format!("exec:cat > {}", memory.display())}))?;
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            let state = self.qmp.execute("query-migrate", &json!({}))?;
            match state.get("status").and_then(serde_json::Value::as_str) {
                Some("completed") => break,
                Some("failed") => anyhow::bail!("qemu could not write the machine's memory: {state}"),
                _ => ensure!(Instant::now() < deadline, "the machine's memory was not written: {state}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.qmp.execute("quit", &json!({}))?;
        self.running.wait(Duration::from_secs(30))?;
        Ok(())
    }

    /// Cuts its power.
    pub(crate) fn kill(mut self) {
        self.running.kill();
    }
}

fn plug_disk(qmp: &mut Qmp, disk: &Disk) -> Result<()> {
    let server = json!({"type": "unix", "path": disk.socket()});
    qmp.execute(
        "blockdev-add",
        &json!({"driver": "nbd", "node-name": "disk", "server": server, "export": ""}),
    )?;
    let device = json!({"driver": "virtio-blk-pci", "id": "disk", "drive": "disk", "write-cache": "on"});
    qmp.execute("device_add", &device)?;
    Ok(())
}
