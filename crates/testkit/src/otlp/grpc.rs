//! OTLP over gRPC, by the protocol's generated services.

use std::net::SocketAddr;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1 as metrics;
use opentelemetry_proto::tonic::collector::trace::v1 as trace;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::Received;

#[derive(Debug)]
pub(super) struct GrpcServer {
    address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl GrpcServer {
    pub(super) fn start(received: &Arc<Received>) -> std::io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let service = Service(Arc::clone(received));
        let entered = runtime.enter();
        let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = incoming.local_addr()?;
        let server = tonic::transport::Server::builder()
            .add_service(trace::trace_service_server::TraceServiceServer::new(service.clone()))
            .add_service(metrics::metrics_service_server::MetricsServiceServer::new(service));
        // It runs until the runtime goes.
        runtime.spawn(server.serve_with_incoming(incoming));
        drop(entered);
        Ok(Self { address, runtime: Some(runtime) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Service(Arc<Received>);

#[tonic::async_trait]
impl trace::trace_service_server::TraceService for Service {
    async fn export(
        &self,
        request: Request<trace::ExportTraceServiceRequest>,
    ) -> Result<Response<trace::ExportTraceServiceResponse>, Status> {
        self.0.add_traces(request.into_inner());
        Ok(Response::new(trace::ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl metrics::metrics_service_server::MetricsService for Service {
    async fn export(
        &self,
        request: Request<metrics::ExportMetricsServiceRequest>,
    ) -> Result<Response<metrics::ExportMetricsServiceResponse>, Status> {
        self.0.add_metrics(request.into_inner());
        Ok(Response::new(metrics::ExportMetricsServiceResponse::default()))
    }
}
