# A daemon that restarts when one of its files changes, and not before its old process has gone.
define hadoop::service (Array $files, Array $folders = []) {
  $daemon = regsubst($name, '^.*-', '')
  service { $name:
    ensure    => running,
    hasstatus => true,
    restart   => [
      "p=\$(cat /var/run/hadoop-0.20/hadoop-hadoop-${daemon}.pid 2>/dev/null);",
      "service ${name} stop; n=0;",
      'while [ -n "$p" ] && kill -0 "$p" 2>/dev/null && [ $n -lt 60 ]; do sleep 1; n=$((n+1)); done;',
      "service ${name} start || service ${name} status",
    ].join(' '),
    subscribe => [Package[$name]] + $files,
    require   => $folders,
  }
}
