# core-site.xml, the same on every node of a cluster.
class hadoop::core_site (Hash $namenode) {
  file { 'hadoop-core-site':
    ensure  => file,
    path    => '/etc/hadoop-0.20/conf.puppet/core-site.xml',
    owner   => 'root',
    group   => 'root',
    mode    => '0644',
    content => epp('hadoop/site.xml.epp', { 'properties' => {
      'fs.default.name' => "hdfs://${namenode['host']}:${namenode['port']}/",
      'hadoop.tmp.dir'  => '/var/lib/hadoop-0.20/cache/${user.name}',
    } }),
  }
}
