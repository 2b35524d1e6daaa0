//! `journeyman setup`: installs what this machine lacks, after saying what.

use journeyman_domain::failure::sentence;
use journeyman_store::cluster::install;

use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::Context;

/// Does it.
pub fn execute(context: &Context) -> Result<Exit, Failure> {
    let said = install::install(&context.paths.data, |line| {
        // A closed standard output does not stop the installation.
        let _ = output::text(line);
    });
    match said {
        Ok(_) => Ok(Exit::Done),
        Err(error) => Err(Failure::new(Exit::Missing, "missing", sentence(&error))),
    }
}
