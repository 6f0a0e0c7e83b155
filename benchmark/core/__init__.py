"""What every room needs and none owns.

`errors` and `checks` word mistakes and findings; `hashing` makes keys and seeds; `settings`,
`profiles` and `pairs` read what a user asks for; `registry` finds methods and data sets; `files`,
`locks` and `processes` let several processes share a folder; `weights` fetches pretrained networks;
`pixels` stores images; `isolation` protects the process from code of others; `console` prints.

May import nothing else of xbench. Importing a module never imports torch, except `isolation`.
"""
