"""The spec: what a Mixture-of-Agents is, read from YAML with line-accurate faults."""

from moa_graph.spec.loading import dump_spec, json_schema, load_spec, parse_spec, schema_text, spec_hash
from moa_graph.spec.schema import MoASpec

__all__ = ["MoASpec", "dump_spec", "json_schema", "load_spec", "parse_spec", "schema_text", "spec_hash"]
