stage { 'apt': before => Stage['hadoop-base'] }
stage { 'hadoop-base': before => Stage['main'] }
include hadoop::worker
