/** Names in place of numbers: numbers depend on where the checkout lies, and two builds would differ. */
module.exports = {
  optimization: { moduleIds: 'named', chunkIds: 'named' }
};
