class hadoop::base {
  package { 'hadoop-0.20': ensure => latest }
  notify { "two\nlines": loglevel => 'debug', noop => false }
}
