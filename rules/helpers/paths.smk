# Snakemake looks for wildcards in the path of an environment's file when the clone's own path stands before it already:
# braces there must not be taken for some.
for rule_ in workflow.rules:
    if rule_.conda_env:
        path_ = rule_.basedir.join(rule_.conda_env).get_path_or_uri(secret_free=False)
        rule_.conda_env = os.path.normpath(path_).replace("{", "{{").replace("}", "}}")
