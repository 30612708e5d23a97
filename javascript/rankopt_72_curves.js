// Curves of a training run: what is reckoned (pure, tested with node), and one live plot as SVG.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.curves) return;

    const {h, set, text, clamp} = ns.base;
    const SVG = 'http://www.w3.org/2000/svg';
    const HEIGHT = 190;
    const EDGE = {left: 54, right: 14, top: 10, bottom: 36};
    const OUTLIERS = 0.005; // share of the values at either end that may lie outside the frame, once there are many
    const MANY = 60;

    const finite = (value) => typeof value === 'number' && Number.isFinite(value);

    /** The lines of one run by step: updates and validations apart; a step that comes again replaces what was there. */
    class Metrics {
        constructor() {
            this.kept = {false: new Map(), true: new Map()};
            this.sorted = {false: [], true: []};
        }

        add(lines) {
            for (const line of lines) this.kept[Boolean(line.validation)].set(line.step, line);
            for (const kind of lines.length ? [false, true] : []) this.sorted[kind] = [...this.kept[kind].values()].sort((a, b) => a.step - b.step);
        }

        /** The last step that is known; -1 where nothing is. */
        get last() {
            return Math.max(-1, ...[false, true].map((kind) => (this.sorted[kind].length ? this.sorted[kind].at(-1).step : -1)));
        }

        /** [{x: step, y: value or null}]; nothing where the quantity does not occur at all. */
        points(name, held) {
            const points = this.sorted[Boolean(held)].map((line) => ({x: line.step, y: finite(line[name]) ? line[name] : null}));
            return points.some((point) => point.y !== null) ? points : [];
        }
    }

    /** Mean of each point and those before it. A hole is bridged as long as the window still holds a value. */
    function smooth(points, window) {
        const width = window || clamp(Math.round(points.length / 25), 1, 100);
        return points.map((point, place) => {
            let sum = 0;
            let count = 0;
            for (let at = Math.max(0, place - width + 1); at <= place; at++) {
                if (points[at].y === null) continue;
                sum += points[at].y;
                count++;
            }
            return {x: point.x, y: count ? sum / count : null};
        });
    }

    /** At most four points a column of pixels, first, lowest, highest and last, so that no spike is lost. A column of holes stays a hole. */
    function decimate(points, columns) {
        if (points.length <= columns * 2) return points;
        const low = points[0].x;
        const wide = (points.at(-1).x - low) || 1;
        const kept = [];
        for (let from = 0; from < points.length;) {
            const column = Math.floor((points[from].x - low) / wide * columns);
            let to = from;
            let best = null; // places of the lowest and the highest
            for (; to < points.length && Math.floor((points[to].x - low) / wide * columns) === column; to++) {
                const {y} = points[to];
                if (y === null) continue;
                if (!best) best = [to, to, to, to];
                if (y < points[best[1]].y) best[1] = to;
                if (y > points[best[2]].y) best[2] = to;
                best[3] = to;
            }
            if (best) kept.push(...[...new Set(best)].sort((a, b) => a - b).map((place) => points[place]));
            else kept.push(points[from]);
            from = to;
        }
        return kept;
    }

    /** Where the vertical axis begins and ends. */
    function range(values, options) {
        const given = options || {};
        const sorted = Float64Array.from(values.filter(finite)).sort();
        const cut = sorted.length > MANY ? Math.floor(sorted.length * OUTLIERS) : 0;
        let low = sorted.length ? sorted[cut] : 0;
        let high = sorted.length ? sorted[sorted.length - 1 - cut] : 1;
        if (given.zero) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
        const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
        return [given.low === undefined ? low - room : given.low, given.high === undefined ? high + room : given.high];
    }

    /** Round numbers between two bounds. */
    function ticks(low, high, count) {
        const rough = (high - low) / count;
        const power = 10 ** Math.floor(Math.log10(rough));
        const share = rough / power;
        const step = power * (share < 1.5 ? 1 : (share < 3 ? 2 : (share < 7 ? 5 : 10)));
        const found = [];
        for (let place = Math.ceil(low / step - 1e-9); place * step <= high + step * 1e-9; place++) found.push(place * step + 0);
        return {step, values: found};
    }

    /** A number as it is read: three digits, powers of ten where it is small or big. */
    function tidy(value) {
        if (!finite(value)) return '–';
        const size = Math.abs(value);
        if (size && (size < 0.001 || size >= 100000)) return value.toExponential(1).replace('.0e', 'e').replace('e+', 'e').replaceAll('-', '−');
        return String(Number(value.toPrecision(size >= 1000 ? 5 : 3))).replace('-', '−');
    }

    /** Labels of ticks: as many digits as tell them apart. */
    function labels({step, values}) {
        if (Math.max(...values.map(Math.abs), 0) < 0.001) return values.map(tidy);
        const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
        return values.map((value) => value.toFixed(digits).replace('-', '−'));
    }

    /** Place of the point nearest to x among points in order; -1 where there are none. */
    function nearest(points, x) {
        let low = 0;
        let high = points.length - 1;
        while (high - low > 1) {
            const middle = (low + high) >> 1;
            if (points[middle].x < x) low = middle;
            else high = middle;
        }
        return high < 0 ? -1 : (Math.abs(points[low].x - x) <= Math.abs(points[high].x - x) ? low : high);
    }

    /** The d of a path; a hole begins anew, and a point alone is a dot. */
    function path(points, toX, toY) {
        const at = (point) => `${toX(point.x).toFixed(1)} ${toY(point.y).toFixed(1)}`;
        return points.map((point, place) => {
            if (point.y === null) return '';
            const begins = place === 0 || points[place - 1].y === null;
            const alone = begins && (place === points.length - 1 || points[place + 1].y === null);
            return `${begins ? 'M' : 'L'}${at(point)}${alone ? 'h.01' : ''}`;
        }).join('');
    }

    ns.curves = {Metrics, smooth, decimate, range, ticks, labels, tidy, nearest, path};

    const draw = (tag, attributes, content) => {
        const element = document.createElementNS(SVG, tag);
        for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
        if (content !== undefined) element.textContent = content;
        return element;
    };

    /** One plot. `spec`: {title, about, zero, low, high, half, lines: [{name, label, tone, held, unless}]}. */
    ns.Plot = class {
        constructor(spec) {
            this.spec = spec;
            this.curves = [];
            this.step = null; // the one that is looked at
            this.legend = h('span', {class: 'ro-legend'});
            this.svg = draw('svg', {class: 'ro-curves', role: 'img', tabindex: '0'});
            this.tip = h('div', {class: 'ro-tip', hidden: true});
            this.element = h('figure', {class: 'ro-plot', hidden: true},
                h('figcaption', {}, h('strong', {}, spec.title), this.legend, spec.about ? h('span', {class: 'ro-dim ro-plot-about'}, spec.about) : null),
                h('div', {class: 'ro-canvas'}, this.svg, this.tip));
            for (const name of ['pointermove', 'pointerdown']) this.svg.addEventListener(name, (event) => this.lookAt(event));
            for (const name of ['pointerleave', 'blur']) this.svg.addEventListener(name, () => this.look(null));
            this.svg.addEventListener('keydown', (event) => this.walk(event));
            this.sizes = new ResizeObserver(() => this.paint());
            this.sizes.observe(this.svg);
        }

        draw(metrics) {
            this.curves = this.spec.lines.filter((line) => !(line.unless || []).some((name) => metrics.points(name).length))
                .map((line) => ({...line, points: metrics.points(line.name, line.held)})).filter((line) => line.points.length)
                .map((line) => ({...line, average: line.held ? line.points : smooth(line.points)}));
            set(this.element, 'hidden', !this.curves.length);
            this.paint();
        }

        /** Scales from the data and the room that there is. */
        scale() {
            const all = this.curves.flatMap((line) => line.points);
            const [first, last] = [Math.min(...this.curves.map((line) => line.points[0].x)), Math.max(...this.curves.map((line) => line.points.at(-1).x))];
            this.width = this.svg.clientWidth;
            this.x = first === last ? [first - 1, last + 1] : [first, last];
            this.y = range(all.map((point) => point.y), this.spec);
            const along = this.width - EDGE.left - EDGE.right;
            this.toX = (x) => EDGE.left + (x - this.x[0]) / (this.x[1] - this.x[0]) * along;
            this.toY = (y) => HEIGHT - EDGE.bottom - (y - this.y[0]) / (this.y[1] - this.y[0]) * (HEIGHT - EDGE.top - EDGE.bottom);
        }

        paint() {
            if (!this.curves.length || !this.svg.clientWidth) return;
            this.scale();
            set(this.svg, 'viewBox', `0 0 ${this.width} ${HEIGHT}`);
            set(this.svg, 'aria-label', this.words());
            const room = {x: EDGE.left - 4, y: EDGE.top - 4, width: this.width - EDGE.left - EDGE.right + 8, height: HEIGHT - EDGE.top - EDGE.bottom + 8};
            // an svg in the svg cuts off what lies outside the frame, without ids that could meet others on the page
            const inside = draw('svg', {...room, viewBox: `${room.x} ${room.y} ${room.width} ${room.height}`});
            for (const line of this.curves) inside.append(...this.strokes(line));
            this.pointer = draw('g', {class: 'ro-pointer'});
            this.svg.replaceChildren(...this.axes(), inside, this.pointer);
            this.legend.replaceChildren(...this.curves.map((line) => h('span', {class: `ro-key ro-tone-${line.tone || 'first'}`}, `${line.label} `, h('b', {}, tidy(latest(line.average).y)))));
            this.look(this.step);
        }

        strokes(line) {
            const columns = Math.max(1, Math.round(this.width - EDGE.left - EDGE.right));
            const curve = (points, name) => draw('path', {class: `${name} ro-tone-${line.tone || 'first'}`, d: path(decimate(points, columns), this.toX, this.toY)});
            if (!line.held) return [curve(line.points, 'ro-raw'), curve(line.average, 'ro-average')];
            const dots = line.points.length > 100 ? [] : line.points.filter((point) => point.y !== null);
            return [curve(line.points, 'ro-average'),
                ...dots.map((point) => draw('circle', {class: `ro-mark ro-tone-${line.tone || 'first'}`, cx: this.toX(point.x), cy: this.toY(point.y), r: 3}))];
        }

        axes() {
            const up = ticks(this.y[0], this.y[1], 4);
            const along = ticks(this.x[0], this.x[1], clamp(Math.floor(this.width / 110), 2, 8));
            const right = this.width - EDGE.right;
            const names = labels(up);
            const steps = along.values.filter((x) => Number.isInteger(x) && x >= 0);
            return [
                ...up.values.flatMap((y, place) => [draw('path', {class: 'ro-gridline', d: `M${EDGE.left} ${this.toY(y)}H${right}`}),
                    draw('text', {x: EDGE.left - 8, y: this.toY(y) + 4, 'text-anchor': 'end'}, names[place])]),
                ...(this.spec.half === undefined ? [] : [draw('path', {class: 'ro-guess', d: `M${EDGE.left} ${this.toY(this.spec.half)}H${right}`})]),
                ...steps.map((x) => draw('text', {x: Math.min(this.toX(x), this.width - 3.5 * String(x).length), y: HEIGHT - EDGE.bottom + 17, 'text-anchor': 'middle'}, x)),
                draw('text', {class: 'ro-axis', x: (EDGE.left + right) / 2, y: HEIGHT - 3, 'text-anchor': 'middle'}, 'step'),
            ];
        }

        /** What the picture says, for who does not see it. */
        words() {
            const lines = this.curves.map((line) => {
                const known = line.points.filter((point) => point.y !== null);
                const values = known.map((point) => point.y);
                const low = values.reduce((a, b) => Math.min(a, b));
                const high = values.reduce((a, b) => Math.max(a, b));
                return `${line.label} ${tidy(latest(line.average).y)} at step ${known.at(-1).x}, at first ${tidy(values[0])}, between ${tidy(low)} and ${tidy(high)}`;
            });
            return `${this.spec.title}: ${lines.join('; ')}. Left and right arrows go through the steps.`;
        }

        lookAt(event) {
            const box = this.svg.getBoundingClientRect();
            const x = (event.clientX - box.left) / box.width * this.width;
            const along = (x - EDGE.left) / (this.width - EDGE.left - EDGE.right);
            this.look(this.x[0] + clamp(along, 0, 1) * (this.x[1] - this.x[0]));
        }

        walk(event) {
            const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
            if (!by || !this.curves.length) return;
            event.preventDefault();
            const {points} = this.curves[0];
            const place = this.step === null ? points.length - 1 : clamp(nearest(points, this.step) + by * (event.shiftKey ? 10 : 1), 0, points.length - 1);
            this.look(points[place].x);
            ns.say(this.tip.textContent);
        }

        /** Show the values at the step nearest to x, or none. */
        look(x) {
            this.step = x;
            set(this.tip, 'hidden', x === null || !this.curves.length);
            if (!this.pointer) return;
            this.pointer.replaceChildren();
            if (x === null || !this.curves.length) return;
            const step = this.curves[0].points[nearest(this.curves[0].points, x)].x;
            const found = this.curves.map((line) => [line, line.points[nearest(line.points, step)].y]);
            const at = this.toX(step);
            this.pointer.append(draw('path', {d: `M${at} ${EDGE.top}V${HEIGHT - EDGE.bottom}`}),
                ...found.filter(([, y]) => y !== null && y >= this.y[0] && y <= this.y[1]).map(([line, y]) => draw('circle', {class: `ro-tone-${line.tone || 'first'}`, cx: at, cy: this.toY(y), r: 4})));
            text(this.tip, [`step ${step}`, ...found.map(([line, y]) => `${line.label} ${tidy(y)}`)].join(' · '));
            this.tip.style.left = `${clamp(at - this.tip.offsetWidth / 2, 0, Math.max(0, this.width - this.tip.offsetWidth))}px`;
        }
    };

    /** The last point that has a value. */
    function latest(points) {
        return points.findLast((point) => point.y !== null) || {x: 0, y: null};
    }
}());
