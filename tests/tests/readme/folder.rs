//! The folder in which a newcomer begins, and the commands run there.

use std::{
    fs,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use nmfw_tests::eventually;

/// The time limit of each step after the build, on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Returns the address of the repository: this checkout, with uncommitted changes.
pub(crate) fn address() -> String {
    let origin = Folder::new("origin", String::new());
    let checkout = repository();
    origin.run(&format!(
        "rm Cargo.lock\n\
         git clone -q {0} nmfw\n\
         git -C {0} diff --binary HEAD > uncommitted\n\
         if [ -s uncommitted ]; then\n\
             git -C nmfw apply --index ../uncommitted\n\
             git -C nmfw -c user.name=test -c user.email=test@example.com commit -qm uncommitted\n\
         fi\n",
        checkout.display()
    ));
    origin.path("nmfw").display().to_string()
}

/// An empty folder, except for earlier build output.
pub(crate) struct Folder {
    path: PathBuf,
    /// The URL of NATS for services and clients.
    pub(crate) nats_url: String,
}

pub(crate) fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().to_owned()
}

impl Folder {
    /// Empties the folder of this name. Dependencies have the same versions as in all other tests,
    /// unless `cargo add` requires newer ones.
    pub(crate) fn new(name: &str, nats_url: String) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() == "target" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                fs::remove_dir_all(entry.path()).unwrap();
            } else {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        fs::copy(repository().join("Cargo.lock"), path.join("Cargo.lock")).unwrap();
        Self { path, nats_url }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Adds a crate to the workspace, as `cargo new` does.
    pub(crate) fn add_member(&self, name: &str) {
        let workspace = self.read("Cargo.toml");
        let (start, end) = workspace.split_once("members = [").unwrap();
        self.write(
            "Cargo.toml",
            &format!("{start}members = [\"{name}\", {end}"),
        );
    }

    /// Creates a shell in the folder. Warnings of the compiler are errors in it.
    pub(crate) fn shell(&self, commands: &str) -> Command {
        let mut shell = Command::new("bash");
        shell
            .args(["-ec", commands])
            .current_dir(&self.path)
            .env("NATS_URL", &self.nats_url)
            .env("RUSTFLAGS", "-D warnings")
            .env_remove("NATS_CONTEXT")
            .env_remove("CARGO_TARGET_DIR")
            .stdin(Stdio::null());
        shell
    }

    pub(crate) fn output(&self, commands: &str) -> Output {
        self.shell(commands).output().unwrap()
    }

    /// Runs commands to their end, which must succeed.
    pub(crate) fn run(&self, commands: &str) -> Output {
        let output = self.output(commands);
        assert!(
            output.status.success(),
            "{commands}{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// Starts commands, the last of which runs until it is stopped.
    pub(crate) fn start(&self, commands: &str) -> Terminal {
        let mut shell = self.shell(commands);
        Terminal(shell.process_group(0).spawn().unwrap())
    }

    /// Returns the output of commands once they succeed.
    pub(crate) async fn printed(&self, commands: &str) -> String {
        let printed = eventually(LIMIT, || async {
            let output = self.output(commands);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            let succeeded = output.status.success();
            succeeded.then_some(output.stdout).ok_or(error)
        })
        .await;
        String::from_utf8(printed).unwrap()
    }
}

/// A terminal with a running command.
pub(crate) struct Terminal(Child);

impl Terminal {
    /// Whether the command is running.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Presses Ctrl-C, and waits until the command has ended successfully.
    pub(crate) async fn interrupt(&mut self) {
        self.signal("INT");
        let status = eventually(LIMIT, || std::future::ready(self.0.try_wait().unwrap())).await;
        // A shell in between ends by the signal, after its command.
        let by_signal = status.signal() == Some(2);
        assert!(status.success() || by_signal, "{status}");
    }

    fn signal(&self, name: &str) {
        let group = format!("-{}", self.0.id());
        _ = Command::new("kill")
            .args(["-s", name, "--", &group])
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.is_running() {
            self.signal("KILL");
            _ = self.0.wait();
        }
    }
}
