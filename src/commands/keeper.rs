//! The hidden command `cluster-keeper`: the process behind the embedded cluster, and a user of it
//! for scripts.
//!
//! It must be called before any thread is started.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use journeyman_store::cluster::{Cluster, ClusterOptions, keeper};

/// The name of the hidden command; [`main`] expects what follows it.
pub const COMMAND: &str = keeper::SUBCOMMAND;

/// Runs the keeper, or with `hold DATA [false]` a user: that opens the cluster of the folder (with
/// `false`: without durability), prints its address and keeps it until the standard input ends.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let result = match arguments.split_first() {
        Some((role, rest)) if role == "hold" => hold(rest),
        _ => keeper::run(arguments).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when the standard error is gone.
            let _ = writeln!(io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn hold(arguments: &[OsString]) -> anyhow::Result<()> {
    let [data_dir, fsync @ ..] = arguments else {
        anyhow::bail!("the data folder is missing");
    };
    let fsync = fsync.first().is_none_or(|word| word != "false");
    let bin_dir = std::env::var_os("JOURNEYMAN__DATABASE__BIN_DIR")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let options = options(PathBuf::from(data_dir), bin_dir, fsync)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let cluster = runtime.block_on(Cluster::open(options))?;
    writeln!(io::stdout(), "{}", cluster.url())?;
    io::stdin().read_to_end(&mut Vec::new()).context("cannot read the standard input")?;
    Ok(())
}

/// How this program opens the embedded cluster of a data folder.
pub fn options(
    data_dir: PathBuf,
    bin_dir: Option<PathBuf>,
    fsync: bool,
) -> anyhow::Result<ClusterOptions> {
    let program = std::env::current_exe().context("cannot find our own program")?;
    let mut as_user = vec![program.clone().into_os_string()];
    // Any number but 0 will do: it exists only in the server's namespace.
    as_user.extend([journeyman_launcher::COMMAND, "--map-user", "1000", "--"].map(OsString::from));
    Ok(ClusterOptions { data_dir, bin_dir, program, as_user, fsync })
}
