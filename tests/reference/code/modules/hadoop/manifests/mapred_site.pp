# mapred-site.xml, the same on the jobtracker and the workers.
class hadoop::mapred_site (Hash $jobtracker) {
  file { 'hadoop-mapred-site':
    ensure  => file,
    path    => '/etc/hadoop-0.20/conf.puppet/mapred-site.xml',
    owner   => 'root',
    group   => 'root',
    mode    => '0644',
    content => epp('hadoop/site.xml.epp', { 'properties' => {
      'mapred.job.tracker' => "${jobtracker['host']}:${jobtracker['port']}",
      'mapred.system.dir'  => '/hadoop/mapred/system',
    } }),
  }
}
