//! What the standard `OTEL_*` variables ask for.
//!
//! Owns: their reading. Must never: build or send anything.

/// The wire of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over HTTP with binary bodies.
    HttpProtobuf,
    /// OTLP over gRPC.
    Grpc,
}

/// Where one signal goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The full URL; over HTTP with its path.
    pub endpoint: String,
    /// The wire.
    pub protocol: Protocol,
}

/// What is exported. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Otlp {
    /// Where spans go.
    pub traces: Option<Target>,
    /// Where metrics go.
    pub metrics: Option<Target>,
    /// Settings that could not be followed, one sentence each.
    pub problems: Vec<String>,
}

impl Otlp {
    /// What the environment of the process asks for.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// What these variables ask for, as the OpenTelemetry specification defines them. An empty
    /// variable counts as unset. Headers, time limits, compression and batching are read by the
    /// exporters themselves.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable =
            |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let mut otlp = Self::default();
        if variable("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            return otlp;
        }
        otlp.traces = otlp.target(&variable, "TRACES", "/v1/traces");
        otlp.metrics = otlp.target(&variable, "METRICS", "/v1/metrics");
        otlp
    }

    fn target(
        &mut self,
        variable: &impl Fn(&str) -> Option<String>,
        signal: &str,
        path: &str,
    ) -> Option<Target> {
        let switch = format!("OTEL_{signal}_EXPORTER");
        match variable(&switch).as_deref() {
            None | Some("otlp") => {}
            Some("none") => return None,
            Some(other) => {
                self.problems
                    .push(format!("{switch}={other} is not supported, only otlp and none"));
                return None;
            }
        }
        let own = variable(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
        let common = variable("OTEL_EXPORTER_OTLP_ENDPOINT");
        if own.is_none() && common.is_none() {
            return None;
        }
        let name = format!("OTEL_EXPORTER_OTLP_{signal}_PROTOCOL");
        let protocol = variable(&name).or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let protocol = match protocol.as_deref() {
            None | Some("http/protobuf") => Protocol::HttpProtobuf,
            Some("grpc") => Protocol::Grpc,
            Some(other) => {
                let signal = signal.to_lowercase();
                self.problems.push(format!(
                    "OTLP protocol {other} is not supported, only http/protobuf and grpc: no {signal} are sent"
                ));
                return None;
            }
        };
        let endpoint = match (own, common, protocol) {
            (None, Some(common), Protocol::HttpProtobuf) => {
                format!("{}{path}", common.trim_end_matches('/'))
            }
            (own, common, _) => own.or(common)?,
        };
        Some(Target { endpoint, protocol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Otlp {
        Otlp::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn target(endpoint: &str, protocol: Protocol) -> Target {
        let endpoint = endpoint.to_owned();
        Target { endpoint, protocol }
    }

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_set() {
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]), Otlp::default());
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Otlp::default());
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        assert_eq!(of(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), Otlp::default());
    }

    #[test]
    fn the_common_endpoint_gets_the_path_of_the_signal_only_over_http() {
        let http = of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/base/")]);
        assert_eq!(
            http.traces,
            Some(target("http://c:4318/base/v1/traces", Protocol::HttpProtobuf))
        );
        assert_eq!(
            http.metrics,
            Some(target("http://c:4318/base/v1/metrics", Protocol::HttpProtobuf))
        );
        let mixed = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://m/x"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
        ]);
        assert_eq!(mixed.traces, Some(target("http://c:4317", Protocol::Grpc)));
        assert_eq!(mixed.metrics, Some(target("https://m/x", Protocol::HttpProtobuf)));
    }

    #[test]
    fn what_cannot_be_followed_is_told_and_does_not_stop_the_rest() {
        let otlp = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_METRICS_EXPORTER", "none"),
        ]);
        assert_eq!((&otlp.traces, &otlp.metrics), (&None, &None));
        assert_eq!(otlp.problems.len(), 1, "{:?}", otlp.problems);
    }
}
