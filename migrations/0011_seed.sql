-- The 16 settings and the 5 agents. A row that exists is left as it is: it may be the user's.

SELECT set_config('journeyman.actor', 'migration', true);

INSERT INTO system_configuration
    (config_key, config_value, category, description, is_sensitive, is_readonly)
VALUES
    ('system.version', '"1.0.0"', 'system', 'System version', false, true),
    ('system.maintenance_mode', 'false', 'system', 'System maintenance mode', false, false),
    ('system.max_concurrent_tasks', '10', 'system', 'Maximum concurrent task executions', false, false),
    ('codegen.org_id', '""', 'codegen', 'Codegen organization ID', false, false),
    ('codegen.token', '""', 'codegen', 'Codegen API token', true, false),
    ('codegen.default_timeout_ms', '300000', 'codegen', 'Default timeout for Codegen tasks', false, false),
    ('openevolve.enabled', 'true', 'openevolve', 'Enable OpenEvolve integration', false, false),
    ('openevolve.evaluation_timeout_ms', '30000', 'openevolve', 'Timeout for evaluations', false, false),
    ('openevolve.max_generations', '100', 'openevolve', 'Maximum evolution generations', false, false),
    ('analytics.retention_days', '365', 'analytics', 'Data retention period', false, false),
    ('analytics.aggregation_interval_hours', '24', 'analytics', 'Analytics aggregation interval', false, false),
    ('autogenlib.enabled', 'true', 'autogenlib', 'Enable autogenlib integration', false, false),
    ('autogenlib.cache_ttl_seconds', '3600', 'autogenlib', 'Cache TTL for generated code', false, false),
    ('contexten.github_enabled', 'true', 'contexten', 'Enable GitHub integration', false, false),
    ('contexten.linear_enabled', 'true', 'contexten', 'Enable Linear integration', false, false),
    ('contexten.slack_enabled', 'true', 'contexten', 'Enable Slack integration', false, false)
ON CONFLICT (config_key) DO NOTHING;

INSERT INTO codegen_agents (name, agent_type, configuration, capabilities, description)
VALUES
    ('General Assistant', 'general',
     '{"model": "claude-3-5-sonnet", "temperature": 0.1}',
     '["code_generation", "code_review", "testing", "documentation"]',
     'Primary autonomous development agent'),
    ('Code Reviewer', 'reviewer',
     '{"model": "claude-3-5-sonnet", "temperature": 0.0, "focus": "quality"}',
     '["code_review", "security_analysis", "performance_analysis"]',
     'Specialized code review and quality assurance agent'),
    ('Test Generator', 'tester',
     '{"model": "claude-3-5-sonnet", "temperature": 0.2, "focus": "testing"}',
     '["test_generation", "test_validation", "coverage_analysis"]',
     'Automated test generation and validation agent'),
    ('Code Analyzer', 'analyzer',
     '{"model": "claude-3-5-sonnet", "temperature": 0.0, "focus": "analysis"}',
     '["complexity_analysis", "dependency_analysis", "dead_code_detection"]',
     'Deep code analysis and optimization agent'),
    ('Performance Optimizer', 'optimizer',
     '{"model": "claude-3-5-sonnet", "temperature": 0.1, "focus": "performance"}',
     '["performance_analysis", "optimization_suggestions", "bottleneck_detection"]',
     'Performance analysis and optimization agent')
ON CONFLICT (name) DO NOTHING;
