"""ElectionGuard 1.x on gmpy2, compatible with its Python reference 1.4.0 in both directions.

Public names and fields are the reference's, so that each side can read the other's records.
Equations are those of the ElectionGuard specification 1.0 (https://www.electionguard.vote/spec/).

**This code has not been audited.** It is checked against the reference on test elections, which
shows that both agree, not that both are correct. Exponentiations with a guardian's secret take
constant time in GMP's sense (`mpz_powm_sec`). Encryption uses tables and does not: it handles the
nonces of one ballot, on the machine where the voter chose.
"""
