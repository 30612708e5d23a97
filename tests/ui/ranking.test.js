'use strict';

const assert = require('node:assert/strict');
const path = require('node:path');
const test = require('node:test');

require(path.join(__dirname, '../../javascript/rankopt_00_base.js'));
require(path.join(__dirname, '../../javascript/rankopt_10_ranking.js'));
require(path.join(__dirname, '../../javascript/rankopt_11_selection.js'));
require(path.join(__dirname, '../../javascript/rankopt_12_scores.js'));
require(path.join(__dirname, '../../javascript/rankopt_13_comparing.js'));
require(path.join(__dirname, '../../javascript/rankopt_72_curves.js'));

const {ranking, keys, selection, scoring, curves, comparing} = globalThis.rankopt;

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
    const wanted = {m: 'scores', l: 'like', D: 'dislike', z: 'zoom', ' ': 'zoom', u: 'undo', s: 'skip', n: 'none_better', i: 'incumbent', Enter: 'confirm', Escape: 'escape'};
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

test('a score has four significant digits', () => {
    const written = [[28.4, '28.40'], [0.283149, '0.2831'], [97.0049, '97.00'], [-1.20449, '−1.204'], [0, '0.000'], [12345.6, '12350'], [0.00001234567, '0.00001235'], [1.234567e-8, '1.235e−8'], [1, '1.000']];
    for (const [value, text] of written) assert.equal(scoring.digits(value), text);
});

const pictures = (status, ...images) => ({status, candidates: images.map((image, index) => ({id: `c${index}`, image, scores: image ? {clip: index} : {}}))});

test('what lacks a number is asked for once the round is made', () => {
    const none = new Map();
    assert.deepEqual(scoring.lacking(pictures('ready', 'a', null, 'b'), none), ['c0', 'c2']);
    assert.deepEqual(scoring.lacking(pictures('answered', 'a', 'b'), new Map([['c0', 1]])), ['c1']);
    assert.deepEqual(scoring.lacking(pictures('interrupted', 'a', null), new Map([['c0', 1]])), []);
    for (const status of ['queued', 'generating', 'discarded']) assert.deepEqual(scoring.lacking(pictures(status, 'a'), none), []);
    assert.deepEqual(scoring.lacking({...pictures('ready', 'a'), placeholder: true}, none), []);
    assert.deepEqual(scoring.lacking(null, none), []);
});

test('numbers are those of the scorer that was asked', () => {
    assert.deepEqual([...scoring.numbers(pictures('ready', 'a', null, 'b'), 'clip')], [['c0', 0], ['c2', 2]]);
    assert.equal(scoring.numbers(pictures('ready', 'a'), 'other').size, 0);
});

test('what a number means, and what is said before', () => {
    const known = {name: 'clip', ready: true, problem: '', version: '1', scale: 'cosine × 100', relative: false, warning: 'random weights'};
    assert.equal(scoring.meaning(known), 'clip: cosine × 100 · random weights');
    assert.equal(scoring.meaning({name: 'clip'}), 'clip');
    assert.match(scoring.meaning({...known, relative: true, warning: ''}), /^clip: cosine × 100 · compares the images of this round only$/);
    assert.equal(scoring.about(known), scoring.meaning(known));
    assert.equal(scoring.about({name: 'hps', ready: false, problem: 'Put it there.'}), 'Put it there.');
    assert.match(scoring.about({name: 'hps', ready: true, version: null}), /has to load/);
});

test('a menu offers the scorer in use, or the first that can be used', () => {
    const infos = [{name: 'a', ready: false}, {name: 'b', ready: true}];
    assert.equal(scoring.offered(infos, null), 'b');
    assert.equal(scoring.offered(infos, 'a'), 'a');
    assert.equal(scoring.offered(infos.slice(0, 1), null), 'a');
    assert.equal(scoring.offered([], null), '');
});

const line = (...values) => values.map((y, x) => ({x, y}));

test('a step of a run that comes again replaces the older one, validations stay apart', () => {
    const metrics = new curves.Metrics();
    metrics.add([{step: 1, loss: 3}, {step: 2, loss: 2}, {step: 2, validation: true, implicit_accuracy: 0.7}, {step: 3, loss: null}]);
    metrics.add([{step: 2, loss: 5}]);
    assert.deepEqual(metrics.points('loss'), [{x: 1, y: 3}, {x: 2, y: 5}, {x: 3, y: null}]);
    assert.deepEqual(metrics.points('implicit_accuracy', true), [{x: 2, y: 0.7}]);
    assert.deepEqual(metrics.points('implicit_accuracy'), []);
    assert.equal(metrics.last, 3);
    assert.equal(new curves.Metrics().last, -1);
});

test('the moving average bridges a hole as long as its window holds a value', () => {
    assert.deepEqual(curves.smooth(line(1, 3, null, null, 5), 2).map((point) => point.y), [1, 2, 3, null, 5]);
    assert.deepEqual(curves.smooth(line(4)), [{x: 0, y: 4}]);
});

test('ten thousand steps shrink to a few a column, with every spike', () => {
    const points = Array.from({length: 10000}, (_, x) => ({x, y: x === 5003 ? 99 : (x === 7777 ? -99 : Math.sin(x))}));
    const fewer = curves.decimate(points, 300);
    assert.ok(fewer.length <= 4 * 301);
    assert.ok(fewer.some((point) => point.y === 99) && fewer.some((point) => point.y === -99));
    assert.deepEqual([fewer[0].x, fewer.at(-1).x], [0, 9999]);
    assert.ok(fewer.every((point, place) => !place || fewer[place - 1].x < point.x));
    const holed = curves.decimate(points.map((point) => (point.x > 2000 && point.x < 4000 ? {...point, y: null} : point)), 300);
    assert.ok(holed.some((point) => point.y === null));
});

test('a curve begins anew after a hole, and a point alone is a dot', () => {
    const same = (value) => value;
    assert.equal(curves.path(line(1, 2, null, 4), same, same), 'M0.0 1.0L1.0 2.0M3.0 4.0h.01');
    assert.equal(curves.path([], same, same), '');
});

test('axes hold what is drawn, with round numbers that differ', () => {
    assert.deepEqual(curves.ticks(0, 1, 4).values.map((value) => value.toFixed(1)), ['0.0', '0.2', '0.4', '0.6', '0.8', '1.0']);
    assert.deepEqual(curves.labels(curves.ticks(-0.0001, 0.0001, 4)), ['−1e−4', '−5e−5', '0', '5e−5', '1e−4']);
    const one = curves.range([0.5]);
    assert.ok(one[0] < 0.5 && one[1] > 0.5);
    assert.deepEqual(curves.range([null, 0.3], {low: 0, high: 1}), [0, 1]);
    assert.ok(curves.range([...Array.from({length: 999}, () => 1), 1e9])[1] < 10);
    assert.equal(curves.tidy(null), '–');
    assert.equal(curves.nearest(line(1, 1, 1), 1.4), 1);
    assert.equal(curves.nearest([], 1), -1);
});

const asked = (number, key, code, more) => comparing.command({key, code, shiftKey: false, ctrlKey: false, altKey: false, metaKey: false, ...more}, number);

test('of two images an arrow or a digit chooses one, among more only a digit', () => {
    for (const [key, code, place] of [['ArrowLeft', 'ArrowLeft', 0], ['ArrowRight', 'ArrowRight', 1], ['1', 'Digit1', 0], ['2', 'Numpad2', 1]]) {
        assert.deepEqual(asked(2, key, code), {name: 'choose', place, tie: false});
    }
    assert.equal(asked(2, '3', 'Digit3'), null);
    assert.deepEqual(asked(4, 'ArrowLeft', 'ArrowLeft'), {name: 'move', direction: 'ArrowLeft'});
    assert.deepEqual(asked(8, '8', 'Digit8'), {name: 'choose', place: 7, tie: false});
    assert.deepEqual(asked(5, '!', 'Digit1', {shiftKey: true}), {name: 'choose', place: 0, tie: true});
});

test('the other keys of ranking a folder, and none with Ctrl', () => {
    const names = {'=': 'equal', ' ': 'equal', s: 'skip', z: 'undo', L: 'like', x: 'dislike', f: 'full', Enter: 'confirm', Escape: 'escape', '?': 'help'};
    for (const [key, name] of Object.entries(names)) assert.equal(asked(2, key, '').name, name);
    assert.equal(asked(2, 'z', 'KeyZ', {ctrlKey: true}), null);
    assert.equal(asked(2, 'q', 'KeyQ'), null);
});

test('an answer is whole when nothing is left to say', () => {
    assert.equal(comparing.isWhole('pair', 2, []), false);
    assert.equal(comparing.isWhole('pair', 2, [[1]]), true);
    assert.equal(comparing.isWhole('four', 4, [[2]]), true);
    assert.equal(comparing.isWhole('list', 5, [[2], [0, 1]]), false);
    assert.equal(comparing.isWhole('list', 5, [[2], [0, 1], [4]]), true);
});

test('what is not placed is equal and last; nothing placed means that all are equal', () => {
    assert.deepEqual(comparing.complete(4, [[2]]), [[2], [0, 1, 3]]);
    assert.deepEqual(comparing.complete(2, [[1], [0]]), [[1], [0]]);
    assert.deepEqual(comparing.complete(3, []), [[0, 1, 2]]);
});

test('images lie beside each other or one above the other, whichever makes them bigger', () => {
    assert.equal(comparing.arrange([1, 1], 1200, 600, 12).columns, 2);
    assert.equal(comparing.arrange([1, 1], 366, 600, 12).columns, 1);
    assert.equal(comparing.arrange([0.5, 0.5], 366, 600, 12).columns, 2);
    assert.equal(comparing.arrange([2, 2, 2, 2], 1200, 700, 12).columns, 2);
    for (let number = 2; number <= 8; number++) {
        const {columns, wide, high} = comparing.arrange(Array(number).fill(1.5), 1000, 700, 12);
        assert.ok(columns * wide + (columns - 1) * 12 <= 1000);
        assert.ok(Math.ceil(number / columns) * (high + 12) - 12 <= 700);
        assert.ok(Math.min(wide, high * 1.5) > 150);
    }
});

test('the progress is said honestly', () => {
    assert.equal(comparing.progressWords({comparisons: 0, settled: 0}), 'Nothing compared yet');
    assert.equal(comparing.progressWords({comparisons: 1, settled: null}), '1 comparison');
    assert.equal(comparing.progressWords({comparisons: 1234, settled: 0.776}), '1,234 comparisons · about 78 % of the order settled');
    assert.equal(comparing.progressWords({comparisons: 9, settled: 0.001}), '9 comparisons · less than 1 % of the order settled');
    assert.equal(comparing.strength(-0.5, 0.25), '−0.50 ± 0.25');
    assert.equal(comparing.share({mean: 0.9, low: 0.78, high: 0.97, n: 20}), '90 % (78–97)');
});
