"""The served model: found, loaded, started, and reached by every route."""
