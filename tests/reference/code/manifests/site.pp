# One worker of a CDH3 cluster whose masters are known.
stage { 'apt': before => Stage['hadoop-base'] }
stage { 'hadoop-base': before => Stage['main'] }

node default {
  class { 'hadoop::worker':
    namenode     => { 'host' => 'namenode.cluster.test', 'port' => 8200 },
    jobtracker   => { 'host' => 'jobtracker.cluster.test', 'port' => 8021 },
    repositories => {
      'canonical' => { 'lines' => ['deb [trusted=yes] file:/srv/partner ./'] },
      'cloudera'  => {
        'lines' => ['deb file:/srv/cloudera stable contrib', 'deb-src file:/srv/cloudera stable contrib'],
        'key'   => "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nZm9yIHRlc3RzIG9ubHk=\n-----END PGP PUBLIC KEY BLOCK-----\n",
      },
    },
  }
}
