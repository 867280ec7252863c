//! `nmfw completions`: completions for shells.

use clap::{Args, ValueEnum};
use clap_complete::env::Shells;

use crate::{failure::Failure, output::Output};

/// Print completions for a shell
///
/// They complete commands and options, and services, methods and instances that are live. For bash,
/// add this line to ~/.bashrc:
///
///     source <(nmfw completions bash)
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// The shells that are known.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    /// source <(nmfw completions bash)
    Bash,
    /// source (nmfw completions elvish | slurp)
    Elvish,
    /// nmfw completions fish | source
    Fish,
    /// nmfw completions powershell | Out-String | Invoke-Expression
    Powershell,
    /// source <(nmfw completions zsh)
    Zsh,
}

impl Completions {
    pub(super) fn execute(self, output: &Output) -> Result<(), Failure> {
        let value = self.shell.to_possible_value();
        let name = value.as_ref().map_or("", |value| value.get_name());
        let shells = Shells::builtins();
        let shell = shells
            .completer(name)
            .ok_or_else(|| Failure::new(format!("there are no completions for {name}")))?;
        let program = std::env::current_exe().ok();
        let program = program
            .as_deref()
            .and_then(|path| path.to_str())
            .unwrap_or("nmfw");
        let mut script = Vec::new();
        shell.write_registration("COMPLETE", "nmfw", "nmfw", program, &mut script)?;
        output.print_raw(&script)
    }
}
