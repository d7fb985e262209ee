"use strict";
// A commit that takes long: asks again with the same key, until it is made.
setTimeout(() => document.getElementById("again").submit(), 1000);
