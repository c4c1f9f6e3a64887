-- identity, named
return twin_of(ARGV[1], ARGV[2] == '1') or false
