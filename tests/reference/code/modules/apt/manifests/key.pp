# A key that apt trusts.
define apt::key (String $content) {
  file { "/etc/apt/${name}.key":
    ensure  => file,
    owner   => 'root',
    group   => 'root',
    mode    => '0644',
    content => $content,
  }
  exec { "import apt key ${name}":
    command     => "/usr/bin/install -m 0644 /etc/apt/${name}.key /etc/apt/trusted.gpg.d/${name}.asc",
    refreshonly => true,
    subscribe   => File["/etc/apt/${name}.key"],
    notify      => Exec['apt-get_update'],
  }
}
