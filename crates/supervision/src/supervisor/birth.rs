//! The start of one instance.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use ractor::{ActorCell, SpawnErr};

use super::{Arguments, burial, launch};
use crate::{
    child::{Child, ChildContext, StartFailure},
    path::ChildPath,
    record::Change,
    shared::Shared,
    spec::{ChildSpec, Start},
};

/// Starts one instance of a child and registers it. After a failure nothing of the attempt is left.
pub(super) fn bear(
    shared: Arc<Shared>,
    supervisor: ActorCell,
    path: ChildPath,
    spec: Arc<ChildSpec>,
) -> BoxFuture<'static, Result<Child, StartFailure>> {
    Box::pin(async move {
        let result = {
            let lock = shared.directory.birth_lock(&path);
            let _birth = lock.lock().await;
            attempt(&shared, &supervisor, &path, &spec).await
        };
        if result.is_err() {
            burial::lay_to_rest(&shared, &path, None, burial::Patience::Endless).await;
        }
        result
    })
}

async fn attempt(
    shared: &Arc<Shared>,
    supervisor: &ActorCell,
    path: &ChildPath,
    spec: &ChildSpec,
) -> Result<Child, StartFailure> {
    let context = ChildContext {
        path: path.clone(),
        generation: shared.directory.next_generation(path),
        supervisor: supervisor.clone(),
        directory: shared.directory.clone(),
        records: shared.records.clone(),
        ledger: shared.ledger.clone(),
    };
    let child = AssertUnwindSafe(start(shared, supervisor, path, spec, context))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(SpawnErr::StartupFailed("its start function panicked".into())))
        .map_err(|error| StartFailure::from_spawn(path, error))?;
    let is_linked = || {
        child.cell.try_get_supervisor().is_some_and(|linked| linked.get_id() == supervisor.get_id())
    };
    if !is_linked() {
        child.cell.link(supervisor.clone());
    }
    shared.directory.register(path, child.cell.clone());
    if spec.health.is_some() && child.probe.is_none() {
        return Err(StartFailure::new(
            path,
            "its spec asks for health probes, but its start gave none",
        ));
    }
    shared.record(path, Change::Started);
    Ok(child)
}

async fn start(
    shared: &Arc<Shared>,
    supervisor: &ActorCell,
    path: &ChildPath,
    spec: &ChildSpec,
    context: ChildContext,
) -> Result<Child, SpawnErr> {
    match &spec.start {
        Start::Worker(kind) => shared.starter.start(kind, context).await,
        Start::Supervisor(name) => {
            let Some(spec) = shared.supervisor_of(spec).cloned() else {
                return Err(SpawnErr::StartupFailed(
                    format!("there is no supervisor [{name}]").into(),
                ));
            };
            let arguments =
                Arguments { shared: Arc::clone(shared), path: path.clone(), spec, ending: None };
            launch(arguments, supervisor.clone()).await
        }
    }
}
