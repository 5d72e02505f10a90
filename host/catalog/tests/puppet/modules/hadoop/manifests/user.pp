class hadoop::user {
  user { 'hdfs': ensure => present, groups => ['hadoop', 'disk'] }
}
