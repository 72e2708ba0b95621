"""Tools, the rules for calling them, and the formats in which models write calls, whatever the wire."""
