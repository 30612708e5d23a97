'use strict';

const assert = require('node:assert/strict');
const path = require('node:path');
const test = require('node:test');

require(path.join(__dirname, '../../javascript/rankopt_10_ranking.js'));
require(path.join(__dirname, '../../javascript/rankopt_11_selection.js'));

const {ranking, keys, selection} = globalThis.rankopt;

const press = (key, code, more) => keys.command({key, code, shiftKey: false, ctrlKey: false, altKey: false, metaKey: false, ...more});

test('images are placed in the order in which they are picked', () => {
    const tiers = ['c', 'a'].reduce((so_far, id) => ranking.toggle(so_far, id, false), []);
    assert.deepEqual(tiers, [['c'], ['a']]);
    assert.equal(ranking.tierOf(tiers, 'a'), 2);
    assert.equal(ranking.tierOf(tiers, 'b'), 0);
    assert.equal(ranking.count(tiers), 2);
});

test('a tie joins the last tier, and opens the first one where there is none', () => {
    assert.deepEqual(ranking.toggle([], 'a', true), [['a']]);
    assert.deepEqual(ranking.toggle([['a'], ['b']], 'c', true), [['a'], ['b', 'c']]);
});

test('picking again takes back and closes the gap', () => {
    assert.deepEqual(ranking.toggle([['a'], ['b'], ['c']], 'b', false), [['a'], ['c']]);
    assert.deepEqual(ranking.toggle([['a', 'b'], ['c']], 'b', true), [['a'], ['c']]);
});

test('nothing is changed in place', () => {
    const tiers = Object.freeze([Object.freeze(['a'])]);
    ranking.toggle(tiers, 'b', true);
    ranking.toggle(tiers, 'a', false);
    assert.deepEqual(tiers, [['a']]);
});

test('placing then taking back in any order leaves nothing', () => {
    const ids = [...'abcdefgh'];
    let tiers = ids.reduce((so_far, id, index) => ranking.toggle(so_far, id, index % 3 === 2), []);
    assert.equal(ranking.count(tiers), 8);
    for (const id of [...'dahcgbfe']) tiers = ranking.toggle(tiers, id, false);
    assert.deepEqual(tiers, []);
});

test('a stored draft keeps only what exists, once', () => {
    assert.deepEqual(ranking.clean([['a', 'x'], ['a'], ['b']], ['a', 'b']), [['a'], ['b']]);
    for (const broken of [null, 'a', {}, [1, null, 'ab']]) assert.deepEqual(ranking.clean(broken, ['a']), []);
});

test('the grid makes images as big as it can', () => {
    assert.deepEqual(ranking.layout(8, 1200, 600, 1, 12), {columns: 4, tile: 291});
    assert.equal(ranking.layout(8, 340, 600, 1, 10).columns, 2);
    assert.equal(ranking.layout(2, 1200, 600, 1, 12).columns, 2);
    for (let number = 2; number <= 16; number++) {
        const {columns, tile} = ranking.layout(number, 1000, 700, 1, 12);
        assert.ok(columns * tile + (columns - 1) * 12 <= 1000);
        assert.ok(Math.ceil(number / columns) * tile <= 700);
    }
});

test('arrows stop at the border', () => {
    assert.equal(ranking.neighbour(0, 'ArrowLeft', 4, 8), 0);
    assert.equal(ranking.neighbour(1, 'ArrowDown', 4, 8), 5);
    assert.equal(ranking.neighbour(5, 'ArrowDown', 4, 8), 5);
    assert.equal(ranking.neighbour(7, 'ArrowUp', 4, 8), 3);
});

test('digits go by the physical key', () => {
    assert.deepEqual(press('1', 'Digit1'), {name: 'place', place: 0, tie: false});
    assert.deepEqual(press('0', 'Digit0'), {name: 'place', place: 9, tie: false});
    assert.deepEqual(press('!', 'Digit1', {shiftKey: true}), {name: 'place', place: 0, tie: true});
    assert.deepEqual(press('&', 'Digit1'), {name: 'place', place: 0, tie: false}); // a French keyboard
    assert.deepEqual(press('5', 'Numpad5'), {name: 'place', place: 4, tie: false});
    assert.equal(press('Clear', 'Numpad5'), null);
});

test('keys of the browser and of other extensions are left alone', () => {
    for (const held of ['ctrlKey', 'altKey', 'metaKey']) assert.equal(press('1', 'Digit1', {[held]: true}), null);
    assert.equal(press('q', 'KeyQ'), null);
    assert.equal(press('F5', 'F5'), null);
});

test('letters do what the help says', () => {
    const wanted = {l: 'like', D: 'dislike', z: 'zoom', ' ': 'zoom', u: 'undo', s: 'skip', n: 'none_better', i: 'incumbent', Enter: 'confirm', Escape: 'escape'};
    for (const [key, name] of Object.entries(wanted)) assert.equal(press(key, '').name, name);
    assert.equal(press('R', 'KeyR', {shiftKey: true}).tie, true);
    assert.equal(press('ArrowUp', 'ArrowUp').direction, 'ArrowUp');
});

test('without a policy there is no selection', () => {
    assert.equal(selection.fromForm({policy: 'none', pool: 4}), null);
    assert.equal(selection.fromForm({}), null);
});

test('what the form says becomes a selection', () => {
    const found = selection.fromForm({policy: 'human', pool: 4, scorer: 'none', at: '25%, 0.5', decoder: null});
    assert.deepEqual(found, {policy: 'human', pool: 4, scorer: '', at: [0.25, 0.5]});
    assert.deepEqual(selection.fromForm({policy: 'halving', at: ' '}).at, []);
    assert.equal(selection.fromForm({policy: 'halving', at: 'half way'}).at, 'half way');
});

test('a person is asked only while such a round is being made', () => {
    const study = {settings: {selection: {policy: 'human'}}};
    assert.equal(selection.asks(study, {status: 'generating'}), true);
    assert.equal(selection.asks(study, {status: 'ready'}), false);
    assert.equal(selection.asks(study, null), false);
    assert.equal(selection.asks({settings: {selection: {policy: 'halving'}}}, {status: 'generating'}), false);
    assert.equal(selection.asks({settings: {}}, {status: 'generating'}), false);
    assert.equal(selection.asks(null, null), false);
});

test('keys of a choice', () => {
    assert.deepEqual(selection.key(press('3', 'Digit3')), {pick: 2});
    assert.deepEqual(selection.key(press('0', 'Digit0')), {all: true});
    assert.deepEqual(selection.key(press('a', 'KeyA')), {all: true});
    assert.deepEqual(selection.key(press('Enter', 'Enter')), {go: true});
    assert.deepEqual(selection.key(press('Escape', 'Escape')), {stop: true});
    assert.equal(selection.key(press('z', 'KeyZ')), null);
    assert.equal(selection.key(null), null);
});
