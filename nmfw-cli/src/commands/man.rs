//! `nmfw man`: the manual pages.

use std::{fs, path::PathBuf};

use clap::Args;
use clap_mangen::Man as Page;

use crate::{arguments, failure::Failure, output::Output};

/// Write the manual pages, nmfw.1 and one for each command, to a folder
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct Man {
    /// The folder; without it, nmfw.1 is printed
    folder: Option<PathBuf>,
}

impl Man {
    pub(super) fn execute(self, output: &Output) -> Result<(), Failure> {
        let mut command = arguments::command();
        command.build();
        let Some(folder) = self.folder else {
            let mut page = Vec::new();
            Page::new(command).render(&mut page)?;
            return output.print_raw(&page);
        };
        let written =
            fs::create_dir_all(&folder).and_then(|()| clap_mangen::generate_to(command, &folder));
        written.map_err(|error| {
            Failure::new(format!("cannot write to {}", folder.display())).caused_by(&error)
        })
    }
}
