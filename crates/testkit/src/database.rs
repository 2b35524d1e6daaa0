//! Databases of tests: each one a clone of a migrated template, on a cluster that they all share.
//!
//! The cluster is the one that `JOURNEYMAN_TEST_DATABASE_URL` names (a superuser's address of any
//! PostgreSQL), else the embedded one in a folder beside the program under test, which stops by
//! itself when the last test process is gone.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use journeyman_store::cluster::{Cluster, ClusterOptions};
use journeyman_store::{PoolOptions, Store, migrations_fingerprint};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tokio::sync::OnceCell;

/// An address of the cluster to use instead of the embedded one.
pub const URL_VARIABLE: &str = "JOURNEYMAN_TEST_DATABASE_URL";

// PostgreSQL writes down 32 numbers of a sequence at once, but copies with a database what it gave so far, and that it
// need not write yet: a clone whose server is killed early would give numbers twice.
const WRITE_SEQUENCES_DOWN: &str = "DO $$ DECLARE name text; BEGIN \
     FOR name IN SELECT oid::regclass FROM pg_class WHERE relkind = 'S' LOOP \
         EXECUTE format('SELECT setval(%L, last_value, is_called) FROM %s', name, name); \
     END LOOP; END $$";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
static URL: OnceLock<String> = OnceLock::new();
static SERVER: OnceCell<Server> = OnceCell::const_new();

struct Server {
    options: PgConnectOptions,
    template: String,
    // Held until this process ends: the kernel releases it.
    _cluster: Option<Cluster>,
}

/// Names the program under test, `env!("CARGO_BIN_EXE_journeyman")`; the first call counts.
pub fn init(program: impl Into<PathBuf>) {
    // A later call can only say the same again.
    let _ = PROGRAM.set(program.into());
}

/// Names the cluster to use, as [`URL_VARIABLE`] does; the first call counts.
pub fn init_url(url: &str) {
    // A later call can only say the same again.
    let _ = URL.set(url.to_owned());
}

/// A database of one test, removed when this is dropped.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    options: PgConnectOptions,
    store: Store,
}

impl TestDatabase {
    /// A migrated database.
    pub async fn new() -> Result<Self> {
        let server = server().await?;
        Self::make(server, Some(&server.template)).await
    }

    /// An empty one, as a user's first start finds it.
    pub async fn empty() -> Result<Self> {
        Self::make(server().await?, None).await
    }

    async fn make(server: &Server, template: Option<&str>) -> Result<Self> {
        let name = format!("jm_test_{}", sqlx::types::Uuid::new_v4().simple());
        let mut admin = PgConnection::connect_with(&server.options).await?;
        let template = template.unwrap_or("template0");
        let create = format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\"");
        admin.execute(AssertSqlSafe(create)).await?;
        admin.close().await?;
        let options = server.options.clone().database(&name);
        let pool = PoolOptions { max: 20, ..PoolOptions::default() };
        let store = Store::connect(options.to_url_lossy().as_str(), pool).await?;
        Ok(Self { name, options, store })
    }

    /// The store on it.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Its address.
    pub fn url(&self) -> String {
        self.options.to_url_lossy().to_string()
    }

    /// A connection that knows nothing of the store: to look behind it, and to do what the store
    /// refuses.
    pub async fn connection(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect_with(&self.options).await?)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name);
        let options = self.options.clone().database("postgres");
        // A thread of its own: the test's runtime is inside this call and cannot be blocked on.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut admin = PgConnection::connect_with(&options).await?;
                admin.execute(AssertSqlSafe(drop)).await?;
                anyhow::Ok(())
            })
        });
        // A database that stays is no reason to hide why a test failed.
        let _ = removal.join();
    }
}

/// The address of the cluster that all tests share, as [`URL_VARIABLE`] takes it.
pub async fn url() -> Result<String> {
    Ok(server().await?.options.to_url_lossy().to_string())
}

async fn server() -> Result<&'static Server> {
    SERVER.get_or_try_init(start).await
}

async fn start() -> Result<Server> {
    let named = URL.get().cloned().or_else(|| std::env::var(URL_VARIABLE).ok());
    let (url, cluster) = if let Some(url) = named {
        (url, None)
    } else {
        let cluster = open_cluster().await?;
        (cluster.url(), Some(cluster))
    };
    let options = PgConnectOptions::from_str(&url)
        .context("the address of the test cluster")?
        .database("postgres")
        .disable_statement_logging();
    let template = format!("jm_template_{}", migrations_fingerprint());
    make_template(&options, &template).await.context("the template database")?;
    Ok(Server { options, template, _cluster: cluster })
}

async fn open_cluster() -> Result<Cluster> {
    let program = PROGRAM
        .get()
        .with_context(|| format!("call testkit::database::init, or set {URL_VARIABLE}"))?;
    let folder = program.parent().unwrap_or(Path::new(".")).join("test-cluster");
    cluster_in(folder, program, false).await.context("the test cluster")
}

/// A cluster of its own in a folder, which is made; `fsync` says whether its commits survive a power cut. Its
/// address is what [`URL_VARIABLE`] takes.
pub async fn cluster_in(folder: PathBuf, program: &Path, fsync: bool) -> Result<Cluster> {
    std::fs::create_dir_all(&folder)?;
    let as_user = [program.as_os_str()]
        .into_iter()
        .chain(["sandbox-exec", "--map-user", "1000", "--"].map(AsRef::as_ref))
        .map(Into::into)
        .collect();
    let options = ClusterOptions {
        data_dir: folder,
        bin_dir: None,
        program: program.to_owned(),
        as_user,
        fsync,
    };
    Ok(Cluster::open(options).await?)
}

/// Several test processes may come here at once: the first one makes it, under a lock.
async fn make_template(options: &PgConnectOptions, name: &str) -> Result<()> {
    let mut admin = PgConnection::connect_with(options).await?;
    admin.execute("SELECT pg_advisory_lock(hashtext('journeyman.test_template'))").await?;
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(name)
            .fetch_one(&mut admin)
            .await?;
    if !exists {
        let making = format!("{name}_making");
        let drop = format!("DROP DATABASE IF EXISTS \"{making}\" WITH (FORCE)");
        admin.execute(AssertSqlSafe(drop)).await?;
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE \"{making}\""))).await?;
        let url = options.clone().database(&making).to_url_lossy();
        let store = Store::connect(url.as_str(), PoolOptions::default()).await?;
        store.migrate().await?;
        store.close().await;
        let mut made = PgConnection::connect(url.as_str()).await?;
        made.execute(WRITE_SEQUENCES_DOWN).await?;
        made.close().await?;
        let rename = format!("ALTER DATABASE \"{making}\" RENAME TO \"{name}\"");
        admin.execute(AssertSqlSafe(rename)).await?;
    }
    admin.close().await?;
    Ok(())
}
