"""From records to files: tables, feedback pages, and the formats of others."""
