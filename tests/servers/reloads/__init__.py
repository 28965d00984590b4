"""How servers release by themselves, as their documentation says, under the same load as deployd."""
