# Makes Temporal's two databases, or brings them up to date. Both commands can be repeated, `setup-schema` cannot: on a
# database that has a schema it would write version 0.0 again.
set -eu
for name in temporal:temporal temporal_visibility:visibility; do
    database=${name%%:*}
    tool="temporal-sql-tool --database $database"
    if ! $tool update-schema --schema-name "postgresql/v12/${name##*:}"; then
        temporal-sql-tool --database "$database" create || true
        $tool setup-schema --version 0.0
        $tool update-schema --schema-name "postgresql/v12/${name##*:}"
    fi
done
